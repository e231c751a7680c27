//! Steps that pages cannot call: each error stands on what a page cannot give.
use serde::Deserialize;
use zerver_flows::{Fx, Req, Result, step};

#[derive(Deserialize)]
struct User;

#[step(expose)]
async fn owned(_req: &Req, user: User, _fx: &Fx<'_>) -> Result<u32> {
    let User = user;
    Ok(1)
}

#[step(expose)]
async fn changed(_count: &mut u32, _all: Option<Vec<u32>>) -> Result<u32> {
    Ok(1)
}

#[step(expose)]
async fn any<T: Sync>(_what: &T) -> Result<u32> {
    Ok(1)
}

#[step(expose)]
async fn nameless(&User: &User) -> Result<u32> {
    Ok(1)
}

#[step(expsoe)]
async fn misspelt(_user: &User) -> Result<u32> {
    Ok(1)
}

fn main() {}
