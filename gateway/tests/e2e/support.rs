//! What every test needs besides the gateway: waiting for a condition, turns for the heavy ones, the servers of others.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// How long a condition may take to come about. Long, because only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until there is something, and gives it.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A turn for tests that load the machine, one at a time among threads and processes; over when it is dropped.
pub(crate) fn turn() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("heavy-tests.lock");
    let file = File::create(path).expect("the lock file can be made");
    file.lock().expect("the file system has locks");
    file
}

/// The path of a server or tool that a test needs: from `ZERVER_TEST_<NAME>`, else from `tools/need`. Without it the
/// test is skipped with a line, or fails where `ZERVER_TEST_REQUIRE=1` wants no gaps.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn need(name: &str) -> Option<PathBuf> {
    let variable = format!("ZERVER_TEST_{}", name.to_uppercase());
    if let Some(path) = std::env::var_os(&variable) {
        return Some(path.into());
    }
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/need");
    let found = Command::new(tool).args(["--if-present", name]).stderr(Stdio::null()).output();
    if let Some(path) = found.ok().filter(|out| out.status.success()).and_then(|out| String::from_utf8(out.stdout).ok())
    {
        return Some(path.trim().into());
    }
    assert!(std::env::var("ZERVER_TEST_REQUIRE").as_deref() != Ok("1"), "{name} is missing; set {variable}");
    eprintln!("skipped: {name} is missing; set {variable}, or run tools/need {name}");
    None
}

/// A child that does not outlive its test.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server of others that can only be told a port, not to take a free one: finds one, and tries again with
/// another when somebody else was faster.
pub(crate) async fn on_free_port(what: &str, mut start: impl FnMut(u16) -> Command) -> (Guard, SocketAddr) {
    for _ in 0..5 {
        let probe = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = probe.local_addr().expect("a bound socket has an address");
        drop(probe);
        let mut child = Guard(start(address.port()).stdin(Stdio::null()).spawn().expect("the server's file runs"));
        let listens = eventually(what, async || {
            if child.0.try_wait().expect("the child can be asked").is_some() {
                return Some(false);
            }
            TcpStream::connect(address).await.is_ok().then_some(true)
        })
        .await;
        if listens {
            return (child, address);
        }
    }
    panic!("{what} ends at once, five times");
}
