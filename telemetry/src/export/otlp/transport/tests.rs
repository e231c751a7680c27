//! The transport against receivers of both protocols, with and without TLS.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use flate2::read::GzDecoder;
use hyper::body::{Body, Frame};
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;
use crate::export::settings::Tls;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certs").join(name)
}

/// What a receiver was sent: the head and the body of each request.
type Seen = Arc<Mutex<Vec<(http::request::Parts, Bytes)>>>;

/// A receiver that says yes, over gRPC in trailers; with TLS it asks for a client certificate. `once` makes it close
/// each connection after one answer.
async fn receiver(protocol: Protocol, tls: bool, once: bool) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let (seen, acceptor) = (Seen::default(), tls.then(|| acceptor(protocol)));
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            match &acceptor {
                None => drop(tokio::spawn(serve(tcp, protocol, once, Arc::clone(&noted)))),
                Some(acceptor) => {
                    // One that does not show the right certificate is turned away here.
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        tokio::spawn(serve(tls, protocol, once, Arc::clone(&noted)));
                    }
                }
            }
        }
    });
    (address, seen)
}

async fn serve<S>(stream: S, protocol: Protocol, once: bool, seen: Seen)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("the body arrives").to_bytes();
            seen.lock().expect("nobody panics with it").push((head, body));
            let frames: Vec<Result<Frame<Bytes>, Infallible>> = match protocol {
                Protocol::Http => Vec::new(),
                Protocol::Grpc => {
                    let trailers =
                        HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
                    vec![Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))]
                }
            };
            Ok::<_, Infallible>(Response::new(Frames(frames.into_iter())))
        }
    });
    let io = TokioIo::new(stream);
    // How a connection ends is the other side's business.
    match protocol {
        Protocol::Http => {
            _ = hyper::server::conn::http1::Builder::new().keep_alive(!once).serve_connection(io, answer).await;
        }
        Protocol::Grpc => {
            _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, answer).await;
        }
    }
}

fn acceptor(protocol: Protocol) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(file(name)).expect("it is there").map(|read| read.expect("it is one")).collect()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.pem"));
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("it is a key");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_client_cert_verifier(verifier.expect("there is an authority"))
        .with_single_cert(certificates("server.pem"), key)
        .expect("certificate and key fit");
    config.alpn_protocols = vec![if protocol == Protocol::Grpc { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    TlsAcceptor::from(Arc::new(config))
}

fn ours() -> Tls {
    let (certificate, client) = (Some(file("ca.pem")), Some(file("client.pem")));
    Tls { certificate, client_certificate: client, client_key: Some(file("client.key")) }
}

fn to(scheme: &str, address: SocketAddr, protocol: Protocol, compression: Compression, tls: Tls) -> Destination {
    let base = format!("{scheme}://{address}");
    Destination { compression, tls, ..Destination::at(Signal::Traces, protocol, &base) }
}

fn plainly(endpoint: &str, protocol: Protocol) -> Destination {
    Destination { endpoint: endpoint.into(), ..Destination::local(Signal::Traces, protocol) }
}

#[test]
fn the_url_says_where_and_what() {
    for (endpoint, protocol, uri, host, port) in [
        ("http://c:4318/v1/traces", Protocol::Http, "/v1/traces", "c", 4318),
        ("https://c/x?y=1", Protocol::Http, "/x?y=1", "c", 443),
        ("http://[::1]", Protocol::Http, "/", "::1", 80),
        (
            "https://c.example:4317",
            Protocol::Grpc,
            "https://c.example:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            "c.example",
            4317,
        ),
    ] {
        let transport = Transport::new(Signal::Traces, &plainly(endpoint, protocol)).expect(endpoint);
        assert_eq!((transport.uri.to_string().as_str(), &*transport.host, transport.port), (uri, host, port));
        assert_eq!(transport.tls.is_some(), endpoint.starts_with("https"));
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    for (endpoint, says) in [
        ("", "is no URL"),
        ("collector:4318/x", "is no URL"),
        ("collector", "has no scheme"),
        ("ftp://collector", "is neither"),
        ("http://me:pw@collector", "as a header"),
    ] {
        let error = Transport::new(Signal::Traces, &plainly(endpoint, Protocol::Http)).err().expect(endpoint);
        assert!(error.to_string().contains(says), "{endpoint}: {error}");
    }
    for (name, value) in [("x y", "z"), ("x-key", "a\nb")] {
        let mut to = plainly("http://c", Protocol::Http);
        to.headers = BTreeMap::from([(name.into(), value.into())]);
        let error = Transport::new(Signal::Traces, &to).err().expect(name).to_string();
        assert!(error.contains(name) && !error.contains(value), "{error}");
    }
}

#[test]
fn a_message_is_packed_once() {
    let mut to = plainly("http://c", Protocol::Grpc);
    let write = |out: &mut BytesMut| out.extend_from_slice(&[7; 300]);
    let mut plain = Transport::new(Signal::Traces, &to).expect("it is fine");
    assert_eq!(&plain.pack(write)[..6], [0, 0, 0, 1, 44, 7]);
    to.compression = Compression::Gzip;
    let packed = Transport::new(Signal::Traces, &to).expect("it is fine").pack(write);
    assert!(packed[0] == 1 && packed.len() < 60 && packed[5..7] == [0x1f, 0x8b], "{packed:?}");
    assert_eq!(usize::from(packed[4]), packed.len() - 5);
}

#[test]
fn the_buffer_of_a_message_that_is_gone_holds_the_next_one() {
    let mut transport = Transport::new(Signal::Traces, &plainly("http://c", Protocol::Grpc)).expect("it is fine");
    let mut pack = |byte: u8, len: usize| {
        transport.pack(|out| {
            out.reserve(len);
            out.extend_from_slice(&vec![byte; len]);
        })
    };
    let first = pack(1, 10_000);
    // While the first is there, the second stands elsewhere.
    let second = pack(2, 10_000);
    assert!(first[5..].iter().all(|byte| *byte == 1) && second[5..].iter().all(|byte| *byte == 2));
    let place = second.as_ptr();
    drop((first, second));
    for byte in 3..10 {
        let packed = pack(byte, 10_000);
        assert_eq!((packed.as_ptr(), packed.len()), (place, 10_005));
        assert!(packed[5..].iter().all(|one| *one == byte));
    }
    // One that is out of the ordinary leaves nothing behind.
    drop(pack(10, KEPT));
    assert_eq!(transport.buffer.capacity(), 0);
}

const YES: Answer = Answer::Taken { refused: 0, remark: None, odd: false };

#[tokio::test]
async fn every_way_arrives() {
    let message =
        b"a message that repeats itself, a message that repeats itself, a message that repeats itself".to_vec();
    for protocol in [Protocol::Http, Protocol::Grpc] {
        for scheme in ["http", "https"] {
            for compression in [Compression::None, Compression::Gzip] {
                let what = format!("{protocol:?} {scheme} {compression:?}");
                let (address, seen) = receiver(protocol, scheme == "https", false).await;
                let mut to = to(scheme, address, protocol, compression, ours());
                to.headers.insert("x-key".into(), "secret".into());
                let mut transport = Transport::new(Signal::Traces, &to).expect(&what);
                let packed = transport.pack(|out| out.extend_from_slice(&message));
                for _ in 0..2 {
                    assert_eq!(transport.send(&packed).await, YES, "{what}");
                }
                let seen = seen.lock().expect("nobody panics with it");
                let (head, body) = &seen[1];
                let field = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap());
                assert_eq!(field("x-key"), "secret");
                let (path, kind, encoding, body) = match protocol {
                    Protocol::Http => ("/v1/traces", "application/x-protobuf", "content-encoding", &body[..]),
                    Protocol::Grpc => (service(Signal::Traces), "application/grpc", "grpc-encoding", &body[5..]),
                };
                assert_eq!((head.uri.path(), field("content-type")), (path, kind), "{what}");
                let mut read = Vec::new();
                if compression == Compression::Gzip {
                    assert_eq!(field(encoding), "gzip");
                    GzDecoder::new(body).read_to_end(&mut read).expect(&what);
                } else {
                    read.extend(body);
                }
                assert_eq!(read, message, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_stranger_is_not_told_anything() {
    let (address, seen) = receiver(Protocol::Grpc, true, false).await;
    let system = Tls { certificate: None, ..ours() };
    let anonymous = Tls { client_certificate: None, client_key: None, ..ours() };
    for (tls, scheme, what) in [
        (system, "https", "an authority that we do not know"),
        (anonymous, "https", "no certificate of ours"),
        (Tls::default(), "http", "no TLS at all"),
    ] {
        let to = to(scheme, address, Protocol::Grpc, Compression::None, tls);
        // Where the system has no authorities at all, that is said at once.
        let Ok(mut transport) = Transport::new(Signal::Traces, &to) else { continue };
        let packed = transport.pack(|out| out.extend_from_slice(b"secret"));
        let answer = transport.send(&packed).await;
        assert!(matches!(answer, Answer::Again { .. }), "{what}: {answer:?}");
    }
    assert!(seen.lock().expect("nobody panics with it").is_empty());
}

#[tokio::test]
async fn a_connection_that_was_closed_is_made_again() {
    let (address, seen) = receiver(Protocol::Http, false, true).await;
    let to = to("http", address, Protocol::Http, Compression::None, Tls::default());
    let mut transport = Transport::new(Signal::Traces, &to).expect("it is fine");
    for _ in 0..5 {
        assert_eq!(transport.send(&Bytes::from_static(b"x")).await, YES);
    }
    assert_eq!(seen.lock().expect("nobody panics with it").len(), 5);
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_said() {
    // Its kernel accepts; it never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = hanging.local_addr().expect("it is bound");
    for (scheme, protocol) in [("http", Protocol::Http), ("https", Protocol::Http), ("http", Protocol::Grpc)] {
        let mut to = to(scheme, address, protocol, Compression::None, ours());
        to.timeout = Duration::from_millis(30);
        let mut transport = Transport::new(Signal::Traces, &to).expect("it is fine");
        let answer = transport.send(&Bytes::from_static(b"x")).await;
        assert_eq!(answer, Answer::Again { why: "no answer within 30ms".into(), after: None }, "{scheme} {protocol:?}");
    }
}

/// A body of frames that are there already.
struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(self.0.next())
    }
}
