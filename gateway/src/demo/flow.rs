//! The demo's flow: auth → (cart ∥ profile ∥ price) → score → answer.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use zerver_flows::{Fx, Req, Response, Result, flow, step};
use zerver_telemetry::clock::Clock;

/// From this many items on, scoring a cart is heavy.
const HEAVY_CART: u64 = 40;
/// How long a heavy cart is scored.
const HEAVY: Duration = Duration::from_millis(40);

/// Who asks.
struct User {
    tenant: String,
}

/// What the carts service answers.
#[derive(Deserialize)]
struct Cart {
    items: u64,
    heavy: bool,
}

#[step]
async fn auth(req: &Req) -> Result<User> {
    Ok(User { tenant: req.header("x-tenant").unwrap_or("nobody").to_owned() })
}

#[step(targets("carts"))]
async fn load_cart(req: &Req, user: &User, fx: &Fx<'_>) -> Result<Cart> {
    let items = req.query("items").unwrap_or("1");
    fx.get(format!("carts:/carts/{}", user.tenant)).query("items", items).await?.json()
}

#[step(targets("profiles"))]
async fn load_profile(user: &User, fx: &Fx<'_>) -> Result<Value> {
    fx.get(format!("profiles:/profiles/{}", user.tenant)).await?.json()
}

#[step(targets("quotes"))]
async fn quote(user: &User, fx: &Fx<'_>) -> Result<Value> {
    fx.get(format!("quotes:/quotes/{}", user.tenant)).await?.json()
}

/// Computes, and nothing else. It tells the runtime so, which gives this thread's other work to another one meanwhile:
/// a step that computes for long without that holds up every request on its worker.
#[step]
async fn score_cart(cart: &Cart, price: &Value, fx: &Fx<'_>) -> Result<u64> {
    fx.note("items", cart.items.cast_signed());
    let mut score = cart.items * price["cents"].as_u64().unwrap_or(1);
    if cart.heavy && cart.items > HEAVY_CART {
        score = tokio::task::block_in_place(|| {
            let clock = Clock::real();
            let start = clock.now();
            let mut score = score;
            while clock.since(start) < HEAVY {
                score = (0..1_000).fold(score, |score, n| zerver_telemetry::id::mix(score ^ n));
            }
            score
        });
    }
    Ok(score)
}

#[step]
async fn answer(user: &User, profile: Option<&Value>, price: &Value, score: &u64) -> Result<Response> {
    Response::json(&json!({ "tenant": user.tenant, "profile": profile, "price": price, "score": score % 100 }))
}

/// The demo's flow.
#[flow("checkout", version = 1, owner = "demo", deadline = "2s")]
pub async fn checkout(req: &Req) -> Response {
    let user = auth(req);
    let cart = load_cart(req, user);
    #[optional]
    let profile = load_profile(user);
    let price = quote(user);
    let score = score_cart(cart, price);
    answer(user, profile, price, score)
}
