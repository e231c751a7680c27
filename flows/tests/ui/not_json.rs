//! Exposed steps whose input is no value of a page, and whose output a page cannot read.
use zerver_flows::{Response, Result, step};

struct Opaque;

#[step(expose)]
async fn unreadable(_what: &Opaque) -> Result<u32> {
    Ok(1)
}

#[step(expose)]
async fn unwritable(_user: &str) -> Result<Response> {
    Ok(Response::empty(204))
}

fn main() {}
