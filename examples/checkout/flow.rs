//! The checkout in Rust: what each step does, and the flow that says which step needs what.

use serde_json::{Value, json};
use zerver_flows::{Fx, Req, Response, Result, flow, segment, step};

/// A field of a value as text, fit for a path.
fn part(value: &Value, field: &str) -> String {
    segment(value[field].as_str().unwrap_or_default())
}

/// Who asks? The accounts service knows.
#[step(targets("accounts"))]
async fn auth(req: &Req, fx: &Fx<'_>) -> Result<Value> {
    fx.get("accounts:/v1/me").header("authorization", req.header("authorization").unwrap_or("")).await?.json()
}
#[step(targets("carts"))]
async fn load_cart(user: &Value, fx: &Fx<'_>) -> Result<Value> {
    fx.get(format!("carts:/v1/carts/{}", part(user, "name"))).await?.json()
}
#[step(timeout = "300ms", targets("accounts"))]
async fn load_profile(user: &Value, fx: &Fx<'_>) -> Result<Value> {
    fx.get(format!("accounts:/v1/profiles/{}", part(user, "name"))).await?.json()
}
#[step(targets("prices-eu", "prices-us"))]
async fn quote(prices: &str, user: &Value, fx: &Fx<'_>) -> Result<Value> {
    fx.get(format!("{prices}:/v1/prices/{}", part(user, "name"))).await?.json()
}
/// Every try of one checkout carries the same `Idempotency-Key`.
#[step(targets("pay"))]
async fn charge(user: &Value, cart: &Value, price: &Value, fx: &Fx<'_>) -> Result<Value> {
    let bill = json!({ "user": user["name"], "items": cart["items"], "cents": price["cents"] });
    fx.post("pay:/v1/charges").json(&bill).await?.json()
}
#[step(targets("pay"))]
async fn refund(receipt: &Value, fx: &Fx<'_>) -> Result<()> {
    fx.delete(format!("pay:/v1/charges/{}", part(receipt, "id"))).await?.ok()
}
#[step(targets("orders"))]
async fn ship(receipt: &Value, cart: &Value, fx: &Fx<'_>) -> Result<Value> {
    let order = json!({ "user": receipt["user"], "charge": receipt["id"], "items": cart["items"] });
    fx.post("orders:/v1/orders").json(&order).await?.json()
}
#[step]
async fn respond(cart: &Value, profile: Option<&Value>, price: &Value, order: &Value) -> Result<Response> {
    let hello = profile.map_or(json!("Good day"), |profile| profile["greeting"].clone());
    Response::json(&json!({ "hello": hello, "items": cart["items"], "cents": price["cents"], "order": order["id"] }))
}

/// Sells what is in the caller's cart.
#[flow("checkout", version = 2, owner = "payments", deadline = "2s")]
pub(crate) async fn checkout(req: &Req) -> Response {
    let user = auth(req);
    // Cart, profile and price need only the user, so they run side by side.
    let cart = load_cart(user);
    #[optional]
    let profile = load_profile(user);
    #[timeout("500ms")]
    let price = hedge!(after p95 or 80ms: quote("prices-eu", user), quote("prices-us", user));
    #[idempotent]
    #[retry(2)]
    #[compensate(refund(receipt))]
    let receipt = charge(user, cart, price);
    let order = ship(receipt, cart);
    respond(cart, profile, price, order)
}
