//! One receiver, spoken to over one connection: OTLP over HTTP/1.1 or gRPC, with or without TLS and gzip.
//!
//! A gRPC call without streams is one HTTP/2 request whose body is a length and a message, and whose outcome stands in
//! the trailers; for that much no library is needed, and both protocols share all the rest. Sources: the OpenTelemetry
//! protocol specification 1.9 ("OTLP/gRPC", "OTLP/HTTP"), "gRPC over HTTP2".

mod answer;
mod tls;

use std::io::Write as _;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::clock::Clock;
use crate::export::settings::{Compression, Destination, Protocol};
use crate::export::{InvalidExport, Signal};

pub(crate) use answer::Answer;

/// The most of an answer that is read; one of a receiver is a few bytes, or a sentence about what is wrong.
const ANSWER_BYTES: usize = 64 * 1024;

/// The largest message whose buffer is kept for the next one.
const KEPT: usize = 1 << 20;
/// What stands before a message of gRPC: whether it is compressed, and its length.
const FRAME: usize = 5;

/// A way to one receiver for one signal.
pub(crate) struct Transport {
    protocol: Protocol,
    gzip: bool,
    uri: Uri,
    host: String,
    port: u16,
    headers: HeaderMap,
    timeout: Duration,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    clock: Clock,
    connection: Option<Connection>,
    /// What the next message is packed into.
    buffer: BytesMut,
    /// What it is written into before gzip.
    plain: BytesMut,
}

impl Transport {
    /// Reads certificates and checks everything; connects with the first batch.
    ///
    /// # Errors
    /// When the URL, a header or a certificate cannot be used.
    pub(crate) fn new(signal: Signal, to: &Destination) -> Result<Self, InvalidExport> {
        let wrong =
            |why: &str| InvalidExport::value(&format!("the endpoint of {}", signal.as_str()), &to.endpoint, why);
        let uri: Uri = to.endpoint.parse().map_err(|_| wrong("is no URL; write `http://host:4318`"))?;
        let scheme = uri.scheme().cloned().ok_or_else(|| wrong("has no scheme; write `http://host:4318`"))?;
        let secure = match scheme.as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("is neither `http://` nor `https://`")),
        };
        let authority = uri.authority().cloned().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a name or a password; give it as a header"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let alpn: &[u8] = if to.protocol == Protocol::Grpc { b"h2" } else { b"http/1.1" };
        let tls = if secure {
            let name =
                ServerName::try_from(host.clone()).map_err(|_| wrong("has a host that no certificate can name"))?;
            Some((tls::connector(signal, &to.tls, alpn)?, name))
        } else {
            None
        };
        let path = match to.protocol {
            Protocol::Http => uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            Protocol::Grpc => format!("{}{}", uri.path().trim_end_matches('/'), service(signal))
                .parse()
                .map_err(|_| wrong("has a path that cannot be sent"))?,
        };
        let uri = match to.protocol {
            // HTTP/1.1 sends the path alone, HTTP/2 sends all of it.
            Protocol::Http => Uri::from(path),
            Protocol::Grpc => Uri::builder()
                .scheme(if secure { Scheme::HTTPS } else { Scheme::HTTP })
                .authority(authority.clone())
                .path_and_query(path)
                .build()
                .map_err(|_| wrong("cannot be sent"))?,
        };
        let gzip = to.compression == Compression::Gzip;
        Ok(Self {
            protocol: to.protocol,
            gzip,
            uri,
            host,
            port,
            headers: headers(signal, to, authority.as_str(), gzip)?,
            timeout: to.timeout,
            tls,
            clock: Clock::real(),
            connection: None,
            buffer: BytesMut::new(),
            plain: BytesMut::new(),
        })
    }

    /// Makes the message that `write` appends ready to be sent, as often as it takes.
    ///
    /// It stands in the buffer of the one before, once that was sent and let go.
    pub(crate) fn pack(&mut self, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        let Self { protocol, gzip, buffer, plain, .. } = self;
        let framed = *protocol == Protocol::Grpc;
        if framed {
            let mut frame = [0; FRAME];
            frame[0] = u8::from(*gzip);
            buffer.extend_from_slice(&frame);
        }
        if *gzip {
            write(plain);
            pack_into(plain, buffer);
            plain.clear();
        } else {
            write(buffer);
        }
        if framed && let Some((head, body)) = buffer.split_at_mut_checked(FRAME) {
            head[1..].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
        if plain.capacity() > KEPT {
            *plain = BytesMut::new();
        }
        if buffer.len() > KEPT { std::mem::take(buffer).freeze() } else { buffer.split().freeze() }
    }

    /// Sends what was packed and reads the answer, within the destination's timeout.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; the receiver may have taken the batch all the same.
    pub(crate) async fn send(&mut self, body: &Bytes) -> Answer {
        match timeout(self.timeout, self.exchange(body)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Answer::Again { why, after: None },
            Err(_) => Answer::Again { why: format!("no answer within {:?}", self.timeout), after: None },
        }
    }

    async fn exchange(&mut self, body: &Bytes) -> Result<Answer, String> {
        // While it is in use it stands nowhere else, so that whatever ends this future closes it.
        if let Some(kept) = self.connection.take().filter(Connection::is_open)
            // It may have been closed just now; that is no failure of the receiver.
            && let Ok(answer) = self.ask(kept, body).await
        {
            return Ok(answer);
        }
        let new = self.connect().await?;
        self.ask(new, body).await
    }

    async fn ask(&mut self, mut connection: Connection, body: &Bytes) -> Result<Answer, String> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if self.protocol == Protocol::Grpc {
            *request.version_mut() = Version::HTTP_2;
        }
        let answered =
            connection.send(request).await.map_err(|error| format!("the connection broke: {}", chain(&error)))?;
        let (head, body) = answered.into_parts();
        let (read, trailers, whole) = read(body).await?;
        if whole {
            self.connection = Some(connection);
        }
        Ok(match self.protocol {
            Protocol::Http => answer::over_http(head.status, &head.headers, &read, whole, &self.clock),
            Protocol::Grpc => {
                let trailers = trailers.unwrap_or_default();
                answer::over_grpc(head.status, &head.headers, &trailers, &read, whole)
            }
        })
    }

    async fn connect(&self) -> Result<Connection, String> {
        let place = format!("{}:{}", self.host, self.port);
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| format!("cannot connect to {place}: {error}"))?;
        // Without it a batch waits for the acknowledgement of the one before; failing that, it is only slower.
        let _ = tcp.set_nodelay(true);
        match &self.tls {
            None => self.shake_hands(tcp).await,
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp).await;
                self.shake_hands(tls.map_err(|error| format!("no TLS with {place}: {error}"))?).await
            }
        }
    }

    async fn shake_hands<S>(&self, stream: S) -> Result<Connection, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let broke = |error: hyper::Error| format!("the connection broke: {}", chain(&error));
        match self.protocol {
            Protocol::Http => {
                let (wire, driver) = http1::handshake(io).await.map_err(broke)?;
                Ok(Connection { wire: Wire::Http1(wire), driver: tokio::spawn(async { _ = driver.await }) })
            }
            Protocol::Grpc => {
                let (wire, driver) = http2::handshake(TokioExecutor::new(), io).await.map_err(broke)?;
                Ok(Connection { wire: Wire::Http2(wire), driver: tokio::spawn(async { _ = driver.await }) })
            }
        }
    }
}

/// An open connection and the task that moves its bytes; the task ends with it.
struct Connection {
    wire: Wire,
    driver: JoinHandle<()>,
}

enum Wire {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    fn is_open(&self) -> bool {
        match &self.wire {
            Wire::Http1(wire) => !wire.is_closed(),
            Wire::Http2(wire) => !wire.is_closed(),
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match &mut self.wire {
            Wire::Http1(wire) => {
                wire.ready().await?;
                wire.send_request(request).await
            }
            Wire::Http2(wire) => {
                wire.ready().await?;
                wire.send_request(request).await
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The body, the trailers, and whether that was all of it.
async fn read(mut body: Incoming) -> Result<(Vec<u8>, Option<HeaderMap>, bool), String> {
    let (mut read, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the answer broke off: {}", chain(&error)))?;
        match frame.into_data() {
            Ok(data) if read.len() + data.len() > ANSWER_BYTES => return Ok((read, None, false)),
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((read, trailers, true))
}

/// An error and what caused it; hyper tells the latter only when asked.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn service(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

fn headers(signal: Signal, to: &Destination, authority: &str, gzip: bool) -> Result<HeaderMap, InvalidExport> {
    let mut headers = HeaderMap::new();
    headers
        .insert(USER_AGENT, HeaderValue::from_static(concat!("OTel-OTLP-Exporter-zerver/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in &to.headers {
        let wrong = |shown: &str, why| InvalidExport::value(&format!("a header of {}", signal.as_str()), shown, why);
        let key: HeaderName = name.parse().map_err(|_| wrong(name, "is no name of a header"))?;
        // The value is often a key and is not shown.
        let mut value: HeaderValue = value.parse().map_err(|_| wrong(name, "has a value that no header can hold"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    match to.protocol {
        Protocol::Http => {
            let host = authority.parse().map_err(|_| InvalidExport::value("the host", authority, "cannot be sent"))?;
            headers.insert(HOST, host);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            if gzip {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        Protocol::Grpc => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
            if gzip {
                headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
            }
        }
    }
    Ok(headers)
}

/// Level 1: most of what gzip can do, at a tenth of what level 6 costs.
fn pack_into(message: &[u8], packed: &mut BytesMut) {
    let mut packing = GzEncoder::new(packed.writer(), flate2::Compression::fast());
    let written = packing.write_all(message).and_then(|()| packing.finish().map(drop));
    written.expect("writing into memory does not fail");
}

#[cfg(test)]
mod tests;
