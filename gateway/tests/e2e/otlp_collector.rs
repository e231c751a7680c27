//! A real collector, what it has read, and what may stand in front of it: TLS, and a toll that refuses or lies.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::client::{Body, Client, full, request};
use crate::origin::Origin;
use crate::support::{Guard, eventually, need, on_free_port};

/// A collector that writes down what it receives of one signal.
pub(crate) struct Rotel {
    /// Where it takes OTLP over HTTP.
    pub(crate) http: SocketAddr,
    /// Where it takes OTLP over gRPC.
    pub(crate) grpc: SocketAddr,
    program: PathBuf,
    signal: &'static str,
    child: Option<Guard>,
    folder: TempDir,
}

/// A span, as the collector read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) parent: String,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) attrs: BTreeMap<String, String>,
    /// The types of the same, in the collector's words.
    pub(crate) types: BTreeMap<String, String>,
}

impl Rotel {
    /// Starts one that writes `traces` or `metrics` down.
    pub(crate) async fn start(signal: &'static str) -> Option<Self> {
        let program = need("rotel")?;
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let mut grpc = None;
        let (child, http) = on_free_port("rotel listens", |port| {
            let probe = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
            let other = probe.local_addr().expect("a bound socket has an address");
            grpc = Some(other);
            command(&program, folder.path(), signal, SocketAddr::from(([127, 0, 0, 1], port)), other)
        })
        .await;
        let grpc = grpc.expect("the command was made");
        let rotel = Self { http, grpc, program, signal, child: Some(child), folder };
        rotel.listens().await;
        Some(rotel)
    }

    async fn listens(&self) {
        for address in [self.http, self.grpc] {
            eventually("the collector listens", async || TcpStream::connect(address).await.ok()).await;
        }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child = None;
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        let mut command = command(&self.program, self.folder.path(), self.signal, self.http, self.grpc);
        self.child = Some(Guard(command.spawn().expect("the server's file runs")));
        self.listens().await;
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn send(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").0.id().to_string();
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid).status();
        assert!(sent.expect("there is a `kill`").success());
    }

    /// Everything it has written down.
    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("read.txt")).expect("the log can be read")
    }

    /// The resource's attributes and every span that has been read up to now.
    pub(crate) fn read(&self) -> (String, Vec<Span>) {
        let text = self.text();
        let (mut resource, mut spans) = (String::new(), Vec::new());
        let mut part = "";
        for line in text.lines() {
            let words = line.trim();
            match words {
                "Resource attributes:" | "Attributes:" | "Events:" => part = words,
                _ if words.starts_with("Span #") => spans.push(Span::default()),
                _ => {}
            }
            let Some(span) = spans.last_mut() else {
                resource.push_str(line);
                resource.push('\n');
                continue;
            };
            let field = |name: &str| Some(words.strip_prefix(name)?.trim().strip_prefix(':')?.trim().to_owned());
            if let Some(value) = field("Trace ID") {
                span.trace = value;
                part = "";
            }
            span.parent = field("Parent ID").unwrap_or_else(|| std::mem::take(&mut span.parent));
            span.kind = field("Kind").unwrap_or_else(|| std::mem::take(&mut span.kind));
            if part.is_empty() {
                span.id = field("ID").unwrap_or_else(|| std::mem::take(&mut span.id));
                span.name = field("Name").unwrap_or_else(|| std::mem::take(&mut span.name));
            }
            if let Some((key, value)) = words.strip_prefix("-> ").and_then(|pair| pair.split_once(": "))
                && part == "Attributes:"
            {
                let (kind, value) =
                    value.split_once('(').map_or(("", value), |(kind, rest)| (kind, rest.trim_end_matches(')')));
                span.types.insert(key.to_owned(), kind.to_owned());
                span.attrs.insert(key.to_owned(), value.to_owned());
            }
        }
        (resource, spans)
    }

    /// The spans of a trace, once at least so many have come; each as the registry of names says.
    pub(crate) async fn trace(&self, trace: &str, count: usize) -> Vec<Span> {
        let spans = eventually("the collector has the trace", async || {
            let spans: Vec<Span> = self.read().1.into_iter().filter(|span| span.trace == trace).collect();
            (spans.len() >= count).then_some(spans)
        })
        .await;
        let registry = include_str!("../../../telemetry/semconv/registry.yaml");
        let registry: serde_json::Value = serde_saphyr::from_str(registry).expect("the registry is YAML");
        spans.iter().for_each(|span| span.hold(&registry));
        spans
    }
}

impl Span {
    /// Fails where an attribute is not among those of such a span in the registry, or of another type.
    fn hold(&self, registry: &serde_json::Value) {
        let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
        let groups = list(&registry["groups"]);
        let id = match self.kind.as_str() {
            "SPAN_KIND_SERVER" => "span.zerver.request".to_owned(),
            "SPAN_KIND_CLIENT" => "span.zerver.call".to_owned(),
            _ => format!("span.{}", self.name.split(' ').next().unwrap_or_default()),
        };
        let group = groups.iter().find(|group| group["id"] == *id).unwrap_or_else(|| panic!("{id} is not there"));
        let ours = list(&groups[0]["attributes"]);
        for (key, kind) in &self.types {
            let named = |one: &serde_json::Value| {
                let name = one["ref"].as_str().or_else(|| one["id"].as_str()).unwrap_or_default();
                key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
            };
            let refs = list(&group["attributes"]);
            let found = refs.iter().find(|one| named(one)).unwrap_or_else(|| panic!("{key} is not in {id}: {self:#?}"));
            let definition = ours.iter().find(|one| one["id"] == found["ref"]);
            let wanted = definition.map_or(&found["annotations"]["type"], |one| &one["type"]);
            // A closed list of texts is a mapping.
            let wanted = match wanted.as_str().unwrap_or("string") {
                "string" | "template[string]" => "Str",
                "int" => "Int",
                "double" => "Double",
                "boolean" => "Bool",
                "template[string[]]" => "Slice",
                other => panic!("{other} is no type that we send"),
            };
            assert_eq!(kind, wanted, "{key} of {self:#?}");
        }
    }
}

fn command(program: &Path, folder: &Path, signal: &str, http: SocketAddr, grpc: SocketAddr) -> Command {
    let out =
        || std::fs::File::options().create(true).append(true).open(folder.join("read.txt")).expect("it can be made");
    let mut command = Command::new(program);
    command.args(["start", "--exporter", "blackhole", "--debug-log", signal, "--debug-log-verbosity", "detailed"]);
    command.args(["--otlp-grpc-endpoint", &grpc.to_string(), "--otlp-http-endpoint", &http.to_string()]);
    command.arg("--pid-file").arg(folder.join("pid")).arg("--log-file").arg(folder.join("log"));
    command.stdout(out()).stderr(out());
    command
}

/// The path of one of the tests' certificates or keys.
pub(crate) fn certificate(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../telemetry/tests/certs");
    folder.join(name).display().to_string()
}

/// TLS in front of a server that speaks none: asks for the tests' client certificate and passes bytes on.
pub(crate) async fn tls_before(server: SocketAddr) -> SocketAddr {
    let provider = Arc::new(ring::default_provider());
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        let file = CertificateDer::pem_file_iter(certificate(name)).expect("it is there");
        file.map(|read| read.expect("it is one")).collect()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.pem"));
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let key = PrivateKeyDer::from_pem_file(certificate("server.key")).expect("it is a key");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_client_cert_verifier(verifier.expect("there is an authority"))
        .with_single_cert(certificates("server.pem"), key)
        .expect("certificate and key fit");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Whoever shows no certificate is not let through; how a connection ends is the others' business.
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let Ok(mut plain) = TcpStream::connect(server).await else { return };
                _ = copy_bidirectional(&mut tls, &mut plain).await;
            });
        }
    });
    address
}

/// What a toll does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Toll {
    /// Answers with this status, header and body, and passes nothing on.
    Answer(u16, (&'static str, &'static str), &'static [u8]),
    /// Passes it on.
    Pass,
}

/// A toll in front of a collector, over HTTP: does with each request what its list says, and passes on when it is empty.
pub(crate) async fn toll_before(collector: SocketAddr, list: &Arc<Mutex<VecDeque<Toll>>>) -> Origin {
    let list = Arc::clone(list);
    Origin::start(move |asked| {
        let next = list.lock().expect("nobody panics with it").pop_front().unwrap_or(Toll::Pass);
        async move {
            match next {
                Toll::Answer(status, (name, value), body) => {
                    let answer = Response::builder().status(status).header(name, value);
                    answer.body(full(body)).expect("the answer is sound")
                }
                Toll::Pass => pass(asked, collector).await,
            }
        }
    })
    .await
}

async fn pass(asked: Request<Incoming>, collector: SocketAddr) -> Response<Body> {
    let (head, body) = asked.into_parts();
    let body = body.collect().await.expect("the body arrives").to_bytes();
    let headers: Vec<(&str, &str)> = ["content-type", "content-encoding"]
        .into_iter()
        .filter_map(|name| Some((name, head.headers.get(name)?.to_str().expect("the header is text"))))
        .collect();
    let answer = Client::http1().send(request("POST", collector, head.uri.path(), &headers, body)).await;
    Response::builder().status(answer.status).body(full(answer.body)).expect("the answer is sound")
}
