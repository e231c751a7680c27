//! The origin behind every proxy: hyper, a hundred bytes at once for every path but one, which is never answered.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The end of the path whose request is held until its client goes.
pub(crate) const HANG: &str = "/hang";

/// What it answers.
const BODY: &[u8] = &[b'z'; 100];

pub(super) async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((io, _)) = listener.accept().await else { continue };
            // Without it an answer may wait for the proxy's acknowledgement.
            let _ = io.set_nodelay(true);
            let serving =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service_fn(answer));
            // A connection that breaks shows at the load's end.
            tokio::spawn(async move { drop(serving.await) });
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path().ends_with(HANG) {
        std::future::pending::<()>().await;
    }
    Ok(Response::new(Full::new(Bytes::from_static(BODY))))
}
