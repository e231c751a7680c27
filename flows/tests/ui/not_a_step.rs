//! What is not a step cannot be used as one, and a step is a free async function of a result.
use zerver_flows::{Fx, Req, Result, step};

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
fn not_async(_req: &Req) -> Result<u32> {
    Ok(7)
}
#[step]
async fn nothing(_fx: &Fx<'_>, _req: &Req) {}

fn main() {}
