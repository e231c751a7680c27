//! Closed-loop load: connections that are kept, each with one request on its way, and the processor time it costs a server.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::machine::Threads;

/// Requests on their way at once.
pub(crate) const CONNECTIONS: usize = 32;

/// After the load a server's background work catches up: zerver's collector looks every 50 ms.
const REST: Duration = Duration::from_millis(150);

type Sender = SendRequest<Empty<Bytes>>;

/// What came of a slice of load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Answers read to their end, by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Connections opened after the first ones: the server had closed one, or an exchange broke.
    pub(crate) reopened: u64,
    /// Processor time of the server, all its threads.
    pub(crate) cpu: Duration,
    /// The part of it that zerver's collector took.
    pub(crate) collector: Duration,
}

impl Tally {
    pub(crate) fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Answers with another status than this one.
    pub(crate) fn other_than(&self, status: u16) -> u64 {
        self.answers() - self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Microseconds of processor per answer.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.answers() as f64
    }
}

async fn connect(address: SocketAddr) -> Result<Sender, Box<dyn Error>> {
    let io = TcpStream::connect(address).await?;
    io.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(io)).await?;
    tokio::task::spawn_local(async move {
        // Its end shows at the sender.
        let _ = connection.await;
    });
    Ok(sender)
}

async fn exchange(sender: &mut Sender, path: &str) -> Result<u16, Box<dyn Error>> {
    sender.ready().await?;
    let request = Request::get(path).header("host", "bench").body(Empty::new())?;
    let mut answer = sender.send_request(request).await?;
    while let Some(frame) = answer.frame().await {
        frame?;
    }
    Ok(answer.status().as_u16())
}

/// Sends requests for `path` over `connections` connections for `time`, then lets the server rest and reads what it used.
/// Each connection has made one request before the counting begins.
///
/// # Errors
/// When the server cannot be reached at all.
///
/// # Cancel safety
/// Dropping the future drops the connections.
pub(crate) async fn slice(address: SocketAddr, pid: u32, path: &str, time: Duration) -> Result<Tally, Box<dyn Error>> {
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut sender = connect(address).await?;
        exchange(&mut sender, path).await?;
        senders.push(sender);
    }
    let before = Threads::of(pid)?;
    let over = Rc::new(Cell::new(false));
    let tasks: Vec<_> = senders
        .into_iter()
        .map(|mut sender| {
            let (over, path) = (Rc::clone(&over), path.to_owned());
            tokio::task::spawn_local(async move {
                let (mut statuses, mut reopened) = (BTreeMap::new(), 0_u64);
                while !over.get() {
                    match exchange(&mut sender, &path).await {
                        Ok(status) => *statuses.entry(status).or_insert(0_u64) += 1,
                        Err(_) => {
                            reopened += 1;
                            let Ok(again) = connect(address).await else { break };
                            sender = again;
                        }
                    }
                }
                (statuses, reopened)
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    over.set(true);
    let mut tally = Tally::default();
    for task in tasks {
        let (statuses, reopened) = task.await?;
        tally.reopened += reopened;
        for (status, count) in statuses {
            *tally.statuses.entry(status).or_insert(0) += count;
        }
    }
    tokio::time::sleep(REST).await;
    let after = Threads::of(pid)?;
    tally.cpu = after.since(&before, "");
    tally.collector = after.since(&before, "zerver-collect");
    if tally.answers() == 0 {
        return Err(format!("{address}{path} answered nothing").into());
    }
    Ok(tally)
}

/// A request whose answer is not waited for; it lasts until this is dropped.
pub(crate) struct Held {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends a request for `path`, and returns when `watch_path` is answered with `status`: when the first one is felt.
///
/// # Errors
/// When the server cannot be reached, or never answers so.
///
/// # Cancel safety
/// Dropping the future drops both requests.
pub(crate) async fn hold(
    address: SocketAddr,
    path: &'static str,
    watch_path: &str,
    status: u16,
) -> Result<Held, Box<dyn Error>> {
    let mut watch = connect(address).await?;
    for _ in 0..200 {
        let mut sender = connect(address).await?;
        let mut held = Held {
            task: tokio::task::spawn_local(async move {
                // It ends when it is dropped, or at once when it is refused itself.
                let _ = exchange(&mut sender, path).await;
            }),
        };
        // Long enough for it to be refused or to be held; the watching request must not be there before it.
        if tokio::time::timeout(Duration::from_millis(50), &mut held.task).await.is_err()
            && exchange(&mut watch, watch_path).await? == status
        {
            return Ok(held);
        }
    }
    Err(format!("{watch_path} is never answered {status}").into())
}

/// Runs a benchmark's future on this thread: one thread makes all the load.
///
/// # Errors
/// The future's, and the runtime's.
pub(crate) fn on_one_thread(work: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work)
}
