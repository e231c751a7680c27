//! A line that calls a function which is no step.
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

fn plain(_req: &Req) -> u32 {
    7
}

#[flow("checkout")]
async fn checkout(req: &Req) -> Response {
    let user = auth(req);
    let seven = plain(req);
    respond(user, seven)
}
fn main() {
    let _: Flow = checkout();
}
