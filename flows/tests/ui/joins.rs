//! Joins and loops that say too little, too much, or what there is not.

use zerver_flows::{Req, Response, Result, flow, step};

#[step]
async fn number(n: u8) -> Result<u8> {
    Ok(n)
}
#[step]
async fn list() -> Result<Vec<u8>> {
    Ok(vec![1])
}
#[step]
async fn respond(_: &u8) -> Result<Response> {
    Ok(Response::empty(204))
}

#[flow("wrong-joins")]
async fn wrong(req: &Req) -> Response {
    let a = hedg!(after 80ms: number(1), number(2));
    let b = hedge!(number(1), number(2));
    let c = hedge!(after 80: number(1), number(2));
    let d = hedge!(after soon: number(1), number(2));
    let e = quorum!(3: number(1), number(2));
    let f = race!(optional number(1), number(2));
    let g = all_required!(optional number(1));
    let h = first_ok!(sequentially: number(1), number(2));
    let i = race!();
    let j = race!(2: number(1), number(2));
    let k = all!(after 80ms: number(1));
    respond(a)
}

#[flow("wrong-loops")]
async fn loops(req: &Req) -> Response {
    let items = list();
    let a = each!(item in items: number(*item));
    let b = each!(item in items, max 500: number(*item));
    let c = each!(item in items, maximum 5: number(*item));
    let d = each!(items, max 5: number(1));
    respond(a)
}

fn main() {}
