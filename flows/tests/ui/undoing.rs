//! Undo steps that would read what may not be there, and undoing where it cannot be.

use zerver_flows::{Req, Response, Result, flow, step, subflow};

#[step]
async fn charge() -> Result<u8> {
    Ok(1)
}
#[step]
async fn refund(_: &u8, _: &u8) -> Result<()> {
    Ok(())
}
#[step]
async fn respond(_: &u8) -> Result<Response> {
    Ok(Response::empty(204))
}

#[flow("undo-too-much")]
async fn too_much(req: &Req) -> Response {
    let other = charge();
    #[compensate(refund(receipt, other))]
    let receipt = charge();
    respond(receipt)
}

#[flow("undo-a-value")]
async fn no_step(req: &Req) -> Response {
    #[compensate(receipt)]
    let receipt = charge();
    #[priority(bach)]
    #[fallback(charge())]
    let both = all!(charge());
    respond(receipt)
}

#[subflow]
async fn part(a: &u8) -> u8 {
    #[compensate(refund(b, b))]
    let b = charge();
    charge()
}

fn main() {}
