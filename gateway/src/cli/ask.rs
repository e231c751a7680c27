//! Asks a running gateway for one of its admin pages, or orders something there.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

/// The token of an admin listener.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// The admin token, when the gateway wants one.
    #[arg(long, env = "ZER_ADMIN_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
}

/// The longest answer that is read: 64 MiB.
const ANSWER_MAX: usize = 64 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an order may take: its work is bounded where it is done.
const ORDER_PATIENCE: Duration = Duration::from_secs(600);

/// Gets a page, a path with its query, from the admin address `source`: `127.0.0.1:9901`, with `http://` or without.
/// Blocks for at most 30 s.
///
/// # Errors
/// What went wrong and what to do, in a sentence.
pub(super) fn page<T: DeserializeOwned>(source: &str, page: &str, token: &Token) -> Result<T, String> {
    send(Method::GET, source, page, token, PATIENCE)
}

/// Orders something: as [`page`] does, with another method. Blocks for at most 10 minutes.
///
/// # Errors
/// As those of [`page`].
pub(super) fn order<T: DeserializeOwned>(method: Method, source: &str, page: &str, token: &Token) -> Result<T, String> {
    send(method, source, page, token, ORDER_PATIENCE)
}

fn send<T: DeserializeOwned>(
    method: Method,
    source: &str,
    page: &str,
    token: &Token,
    patience: Duration,
) -> Result<T, String> {
    let authority = source.trim_start_matches("http://").trim_end_matches('/');
    let mut request = Request::builder().method(method).uri(format!("http://{authority}{page}"));
    if let Some(token) = &token.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| format!("{authority} is no address: {error}"))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let (status, body) = runtime.block_on(async {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let exchange = async {
            let answer = client.request(request).await.map_err(|error| {
                format!("no gateway answers at {authority} ({error}); give the admin address that `zerver run` prints")
            })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|e| e.to_string())?;
            Ok::<_, String>((status, body.to_bytes()))
        };
        tokio::time::timeout(patience, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("{authority} did not answer within {patience:?}")))
    })?;
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|error| format!("{authority} answers oddly: {error}")),
        StatusCode::UNAUTHORIZED => Err("the gateway wants a token: set ZER_ADMIN_TOKEN or give --token".to_owned()),
        _ => Err(format!("{authority} answers {status}: {}", detail(&body))),
    }
}

/// What an answer that is no success says: the detail of a problem document, else all of it.
fn detail(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    detail.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// Percent-encodes what a query's value may not hold.
pub(super) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
