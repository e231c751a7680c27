//! What must compile: borrowed slots, conditions, order without data, generics, one step used twice, paths.
use zerver_flows::{Flow, OrFail, Req, Response, Result, flow, step};

mod steps {
    use zerver_flows::{Fx, Req, Result, step};

    #[step]
    pub(crate) async fn parse<T: serde::de::DeserializeOwned + Send + Sync>(req: &Req, _fx: &Fx<'_>) -> Result<T> {
        req.json()
    }
}

struct Words<'t>(Vec<&'t str>);

#[step]
async fn bearer(req: &Req) -> Result<&str> {
    req.header("authorization").or_fail(401, "who are you?")
}
#[step]
async fn raw(req: &Req) -> Result<String> {
    Ok(req.path.clone())
}
#[step]
async fn words<'t>(text: &'t str) -> Result<Words<'t>> {
    Ok(Words(text.split('/').collect()))
}
#[step]
async fn audit(words: &Words<'_>) -> Result<()> {
    assert!(!words.0.is_empty());
    Ok(())
}
#[step]
async fn respond(token: &str, words: Option<&Words<'_>>, number: &u32) -> Result<Response> {
    Ok(Response::text(format!("{token} {number} {}", words.map_or(0, |words| words.0.len()))))
}

/// A flow's documentation.
#[flow("borrowing-flow", version = 2)]
async fn checkout(req: &Req) -> Response {
    let token = bearer(req);
    let path = raw(req);
    let first = words(path);
    let checked = audit(first);
    #[when(token.len() > 3)]
    #[after(checked)]
    let second = words(path);
    let number = steps::parse::<u32>(req);
    respond(token, second, number)
}

/// All that an exposed step may take.
#[step(expose, timeout = "1s")]
async fn exposed(
    r#type: &str,
    pair: &(u32, String),
    list: Option<&[String]>,
    __value: &std::collections::BTreeMap<String, bool>,
    _: &Req,
    fx: &zerver_flows::Fx<'_>,
) -> Result<usize> {
    fx.note("pair", pair.0);
    Ok(r#type.len() + list.map_or(0, <[String]>::len) + __value.len())
}

fn main() {
    let _: Flow = checkout();
    let names: Vec<&str> = exposed::exposed().arguments().iter().map(|argument| argument.name).collect();
    assert_eq!(names, ["type", "pair", "list", "__value"]);
}
