//! The linter on whole flows: of the macros and of a page, through everything that makes their graphs.
#![cfg(feature = "declare")]

use serde_json::{Value, json};
use zerver_flows::declare::{FlowDoc, Known, load, remarks};
use zerver_flows::lint::{Finding, Remarks, lint};
use zerver_flows::{Flow, Fx, Req, Response, Result, flow, step};

#[step(targets("carts"))]
async fn load_cart(req: &Req, fx: &Fx<'_>) -> Result<Value> {
    fx.get(format!("carts:{}", req.path)).await?.json()
}
#[step(targets("audit"))]
async fn audit(req: &Req, fx: &Fx<'_>) -> Result<u16> {
    Ok(fx.post("audit:/seen").json(&json!({ "path": req.path })).await?.status.as_u16())
}
#[step]
async fn respond(cart: &Value) -> Result<Response> {
    Response::json(cart)
}

/// Sells.
#[flow("shop", version = 1, owner = "shop", deadline = "2s")]
async fn sound(req: &Req) -> Response {
    let _seen = audit(req);
    let cart = load_cart(req);
    respond(cart)
}

#[flow("shop")]
async fn careless(req: &Req) -> Response {
    let seen = audit(req);
    let cart = load_cart(req);
    respond(cart)
}

fn ids(found: &[Finding]) -> Vec<String> {
    found.iter().map(|f| format!("{} {}", f.rule.id(), f.step.as_deref().unwrap_or("-"))).collect()
}

fn of_rust(flow: &Flow) -> Vec<Finding> {
    lint(flow.graph(), &Remarks::default())
}

#[test]
fn a_rust_flow_is_linted_at_its_own_lines() {
    assert_eq!(ids(&of_rust(&sound())), [""; 0]);
    let found = of_rust(&careless());
    assert_eq!(ids(&found), ["ZF002 -", "ZF003 seen", "ZF015 seen", "ZF015 cart"]);
    let text = include_str!("lint.rs");
    let line = |finding: &Finding| text.lines().nth(finding.line as usize - 1).unwrap_or_default().trim();
    assert_eq!(
        (line(&found[0]), line(&found[1])),
        ("async fn careless(req: &Req) -> Response {", "let seen = audit(req);")
    );
    assert!(found.iter().all(|finding| finding.file.ends_with("engine/lint.rs")));
}

fn of_page(page: &str) -> Vec<String> {
    let doc: FlowDoc = serde_saphyr::from_str(page).unwrap();
    let flow = load(&doc, Known::targets(&["carts", "pay", "backup"])).unwrap();
    assert_eq!(doc.slug(), Some(flow.slug()));
    ids(&lint(flow.graph(), &remarks(&doc)))
}

#[test]
fn a_flow_of_a_page_is_linted_with_what_its_page_says() {
    let page = "
flow: shop
owner: shop
description: Sells.
deadline: 2s
steps:
  cart: { get: 'carts:/' }
  paid: { post: ['pay:/charge', 'backup:/charge'], race: true, idempotent: true, json: '${cart}' }
respond: { json: '${paid}' }
";
    assert_eq!(of_page(page), ["ZF007 paid"]);
    assert_eq!(of_page(&page.replace("race: true, ", "")), [""; 0]);
    let one =
        page.replace("['pay:/charge', 'backup:/charge'], race: true, idempotent: true", "'pay:/charge', retry: 1");
    assert_eq!(of_page(&one), ["ZF004 paid"]);
    assert_eq!(of_page(&page.replace("owner: shop", "lint: { allow: [ZF002, ZF007] }")), [""; 0]);
}
