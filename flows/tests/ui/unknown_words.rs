//! Unknown attributes and options come with the nearest known one.
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

#[step(timeuot = "1s")]
async fn slow() -> Result<()> {
    Ok(())
}

#[flow("checkout", verison = 3)]
async fn other(req: &Req) -> Response {
    respond(req)
}

#[flow("checkout", body = "streamed")]
async fn upload(req: &Req) -> Response {
    respond(req)
}

#[flow("checkout")]
async fn checkout(req: &Req) -> Response {
    let user = auth(req);
    #[optoinal]
    let cart = load_cart(user);
    #[timeout("soon")]
    let price = quote(cart);
    #[after(usr)]
    respond(user, price)
}
fn main() {
    let _: Flow = checkout();
}
