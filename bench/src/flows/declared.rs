//! The flows that are run: 5, 10 and 30 steps, layers of parallel steps between a first and a last one.

use zerver_flows::{Flow, Fx, Req, Response, Result, flow, step};

/// The flows whose steps only compute, by their number of steps.
pub(super) fn pure() -> [Flow; 3] {
    [pure_five(), pure_ten(), pure_thirty()]
}

/// The flows whose middle steps make one call each, by their number of steps.
pub(super) fn calls() -> [Flow; 3] {
    [calls_five(), calls_ten(), calls_thirty()]
}

#[step]
pub(super) async fn begin(req: &Req) -> Result<u64> {
    Ok(req.path.len() as u64)
}

#[step]
pub(super) async fn add(before: &u64) -> Result<u64> {
    Ok(std::hint::black_box(*before) + 1)
}

#[step(targets("origin"))]
async fn fetch(before: &u64, fx: &Fx<'_>) -> Result<u64> {
    let answer = fx.get("origin:/item").await?;
    Ok(before + answer.body.len() as u64)
}

#[step]
pub(super) async fn answer_three(a: &u64, b: &u64, c: &u64) -> Result<Response> {
    Ok(answer(a + b + c))
}

#[step]
pub(super) async fn answer_four(a: &u64, b: &u64, c: &u64, d: &u64) -> Result<Response> {
    Ok(answer(a + b + c + d))
}

/// An answer that allocates nothing, so that what is counted is the flow's.
fn answer(sum: u64) -> Response {
    Response::empty(if std::hint::black_box(sum) > 0 { 200 } else { 500 })
}

#[flow("pure-five")]
async fn pure_five(req: &Req) -> Response {
    let first = begin(req);
    let a1 = add(first);
    let b1 = add(first);
    let c1 = add(first);
    answer_three(a1, b1, c1)
}

#[flow("pure-ten")]
async fn pure_ten(req: &Req) -> Response {
    let first = begin(req);
    let a1 = add(first);
    let b1 = add(first);
    let c1 = add(first);
    let d1 = add(first);
    let a2 = add(a1);
    let b2 = add(b1);
    let c2 = add(c1);
    let d2 = add(d1);
    answer_four(a2, b2, c2, d2)
}

#[flow("pure-thirty")]
async fn pure_thirty(req: &Req) -> Response {
    let first = begin(req);
    let a1 = add(first);
    let b1 = add(first);
    let c1 = add(first);
    let d1 = add(first);
    let a2 = add(a1);
    let b2 = add(b1);
    let c2 = add(c1);
    let d2 = add(d1);
    let a3 = add(a2);
    let b3 = add(b2);
    let c3 = add(c2);
    let d3 = add(d2);
    let a4 = add(a3);
    let b4 = add(b3);
    let c4 = add(c3);
    let d4 = add(d3);
    let a5 = add(a4);
    let b5 = add(b4);
    let c5 = add(c4);
    let d5 = add(d4);
    let a6 = add(a5);
    let b6 = add(b5);
    let c6 = add(c5);
    let d6 = add(d5);
    let a7 = add(a6);
    let b7 = add(b6);
    let c7 = add(c6);
    let d7 = add(d6);
    answer_four(a7, b7, c7, d7)
}

#[flow("calls-five")]
async fn calls_five(req: &Req) -> Response {
    let first = begin(req);
    let a1 = fetch(first);
    let b1 = fetch(first);
    let c1 = fetch(first);
    answer_three(a1, b1, c1)
}

#[flow("calls-ten")]
async fn calls_ten(req: &Req) -> Response {
    let first = begin(req);
    let a1 = fetch(first);
    let b1 = fetch(first);
    let c1 = fetch(first);
    let d1 = fetch(first);
    let a2 = fetch(a1);
    let b2 = fetch(b1);
    let c2 = fetch(c1);
    let d2 = fetch(d1);
    answer_four(a2, b2, c2, d2)
}

#[flow("calls-thirty")]
async fn calls_thirty(req: &Req) -> Response {
    let first = begin(req);
    let a1 = fetch(first);
    let b1 = fetch(first);
    let c1 = fetch(first);
    let d1 = fetch(first);
    let a2 = fetch(a1);
    let b2 = fetch(b1);
    let c2 = fetch(c1);
    let d2 = fetch(d1);
    let a3 = fetch(a2);
    let b3 = fetch(b2);
    let c3 = fetch(c2);
    let d3 = fetch(d2);
    let a4 = fetch(a3);
    let b4 = fetch(b3);
    let c4 = fetch(c3);
    let d4 = fetch(d3);
    let a5 = fetch(a4);
    let b5 = fetch(b4);
    let c5 = fetch(c4);
    let d5 = fetch(d4);
    let a6 = fetch(a5);
    let b6 = fetch(b5);
    let c6 = fetch(c5);
    let d6 = fetch(d5);
    let a7 = fetch(a6);
    let b7 = fetch(b6);
    let c7 = fetch(c6);
    let d7 = fetch(d6);
    answer_four(a7, b7, c7, d7)
}
