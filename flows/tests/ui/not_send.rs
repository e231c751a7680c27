//! What is not Send is reported at the step that holds it.
use zerver_flows::{Flow, Fx, Req, Response, Result, flow, step};

struct User;
struct Cart;
struct Price;

#[step]
async fn auth(_req: &Req) -> Result<User> {
    Ok(User)
}
#[step]
async fn load_cart(_user: &User, _fx: &Fx<'_>) -> Result<Cart> {
    Ok(Cart)
}
#[step]
async fn quote(_cart: &Cart) -> Result<Price> {
    Ok(Price)
}
#[step]
async fn respond(_user: &User, _price: &Price) -> Result<Response> {
    Ok(Response::empty(204))
}

#[step]
async fn holds(fx: &Fx<'_>) -> Result<u32> {
    let shared = std::rc::Rc::new(7);
    fx.sleep(std::time::Duration::ZERO).await;
    Ok(*shared)
}

#[flow("checkout")]
async fn checkout(req: &Req) -> Response {
    let user = auth(req);
    let cart = load_cart(user);
    let price = quote(cart);
    let seven = holds();
    respond(user, price)
}
fn main() {
    let _: Flow = checkout();
}
