//! An upstream's pooled connections for effects: hyper's client, one call at a time, nothing decided.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pooled, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use zerver_flows::Upload;
use zerver_flows::adapter::{EffectError, HttpAnswer, HttpCall};

use super::passing::Passing;
use super::peer::Picked;
use crate::config::document::{self, Protocol};

/// Tells an upstream how long its answer is of use, in milliseconds.
pub(crate) const TIME_LEFT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// What an upstream is told of the time that is left: a little is kept for the way back.
pub(crate) fn time_to_tell(left: Duration) -> u64 {
    let left = left.saturating_sub((left / 20).max(Duration::from_millis(1)));
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The most bytes of an answer that a flow is given: 8 MiB.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// An upstream's pooled connections for effects.
pub(super) struct Client {
    pooled: Pooled<HttpConnector, Either<Full<Bytes>, Passing>>,
    read_timeout: Duration,
}

impl Client {
    pub(super) fn new(settings: &document::Upstream) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(settings.timeouts.connect));
        connector.set_nodelay(true);
        let pooled = Pooled::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(settings.timeouts.idle)
            .http2_only(settings.protocol == Protocol::Http2)
            .build(connector);
        Self { pooled, read_timeout: settings.timeouts.read }
    }

    /// Sends one call to a peer, with the time that is `left` for its answer, and reads the whole answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection it used.
    pub(super) async fn send(
        &self,
        call: &HttpCall,
        left: Option<Duration>,
        peer: &Picked,
    ) -> Result<HttpAnswer, EffectError> {
        let address = peer.address().ok_or_else(|| EffectError::Connect(format!("{} is not resolved", peer.text)))?;
        let uri = Uri::builder()
            .scheme("http")
            .authority(address.to_string())
            .path_and_query(call.path_and_query.as_str())
            .build()
            .map_err(|error| EffectError::BadCall(format!("`{}`: {error}", call.path_and_query)))?;
        let body = match &call.upload {
            None => Either::Left(Full::new(call.body.clone())),
            Some(upload) => {
                let gone = || EffectError::BadCall("the request's body is gone: it was passed on before".to_owned());
                Either::Right(Passing(upload.open().ok_or_else(gone)?))
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = call.headers.clone();
        if let Some(left) = left {
            request.headers_mut().insert(TIME_LEFT, HeaderValue::from(time_to_tell(left)));
        }
        let exchange = async {
            let (head, body) = self.pooled.request(request).await.map_err(failure)?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    EffectError::TooLarge { limit: ANSWER_BYTES }
                } else {
                    EffectError::Broken(error.to_string())
                }
            })?;
            Ok(HttpAnswer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::select! {
            answer = exchange => answer,
            () = silence(self.read_timeout, call.upload.as_ref()) => Err(EffectError::Timeout),
        }
    }
}

/// Ready when a peer has been silent for so long. While a body is passed on to it, taking a piece is a sign of life, and
/// a client that is slow to send one is not the peer's fault.
async fn silence(longest: Duration, upload: Option<&Upload>) {
    let mut taken = 0;
    loop {
        tokio::time::sleep(longest).await;
        let (now, waits) = upload.map(Upload::progress).unwrap_or_default();
        if now == taken && !waits {
            return;
        }
        taken = now;
    }
}

fn failure(error: ClientError) -> EffectError {
    let text = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    if error.is_connect() { EffectError::Connect(text) } else { EffectError::Broken(text) }
}
