//! A forgotten argument.
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

#[flow("checkout")]
async fn checkout(req: &Req) -> Response {
    let user = auth(req);
    let cart = load_cart();
    let price = quote(cart);
    respond(user, price)
}
fn main() {
    let _: Flow = checkout();
}
