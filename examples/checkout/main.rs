//! A gateway of your own: the stock binary with one more flow, written in Rust.

use serde_json::{Value, json};
use zerver_flows::{Fx, Req, Response, Result, flow, step};

/// Who asks? The accounts service knows.
#[step(targets("accounts"))]
async fn auth(req: &Req, fx: &Fx<'_>) -> Result<Value> {
    fx.get("accounts:/v1/me").header("authorization", req.header("authorization").unwrap_or("")).await?.json()
}
#[step(targets("carts"))]
async fn load_cart(user: &Value, fx: &Fx<'_>) -> Result<Value> {
    fx.get(format!("carts:/v1/carts/{}", user["name"].as_str().unwrap_or(""))).await?.json()
}
#[step(targets("accounts"))]
async fn load_profile(user: &Value, fx: &Fx<'_>) -> Result<Value> {
    fx.get(format!("accounts:/v1/profiles/{}", user["name"].as_str().unwrap_or(""))).await?.json()
}
#[step(timeout = "300ms", targets("prices"))]
async fn quote(user: &Value, fx: &Fx<'_>) -> Result<Value> {
    fx.get(format!("prices:/v1/prices/{}", user["name"].as_str().unwrap_or(""))).await?.json()
}
/// The profile may be missing: its step is optional.
#[step]
async fn respond(cart: &Value, profile: Option<&Value>, price: &Value) -> Result<Response> {
    let hello = profile.map_or(json!("Good day"), |profile| profile["greeting"].clone());
    Response::json(&json!({ "hello": hello, "items": cart["items"], "cents": price["cents"] }))
}

/// Cart, profile and price need only the user, so they run side by side.
#[flow("checkout", version = 1, owner = "payments", deadline = "2s")]
pub(crate) async fn checkout(req: &Req) -> Response {
    let user = auth(req);
    let cart = load_cart(user);
    #[optional]
    let profile = load_profile(user);
    let price = quote(user);
    respond(cart, profile, price)
}

fn main() -> std::process::ExitCode {
    zerver::App::new().flow(checkout()).main()
}
