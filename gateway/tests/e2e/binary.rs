//! The binary under test: run to its end, or served in the background with its log read along.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use zerver_telemetry::timeline::Timeline;

use crate::client::{Answer, get};
use crate::support::{Guard, eventually};

/// The first lines of most pages: free ports of loopback.
pub(crate) const HEAD: &str = "listen: 127.0.0.1:0\nadmin: { listen: '127.0.0.1:0' }\n";

/// The binary, with nothing of this process's environment that means something to it.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zerver"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["ZER_", "OTEL_", "RUST_LOG"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end, away from the runtime's threads.
pub(crate) async fn run(mut command: Command) -> Ran {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("waiting does not panic");
    let output = output.expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("the binary prints UTF-8");
    let ran = Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) };
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    ran
}

/// Runs `zerver` with these arguments.
pub(crate) async fn zerver(args: &[&str]) -> Ran {
    let mut command = command();
    command.args(args);
    run(command).await
}

/// A folder with one page in it.
pub(crate) fn page(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let file = folder.path().join("zerver.yaml");
    std::fs::write(&file, text).expect("the page is written");
    (folder, file)
}

/// A running `zerver`.
pub(crate) struct Gateway {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Where its admin pages are.
    pub(crate) admin: SocketAddr,
    /// Its page.
    pub(crate) file: PathBuf,
    child: Guard,
    printed: Arc<Mutex<String>>,
    _folder: TempDir,
}

impl Gateway {
    /// Serves a page.
    pub(crate) async fn start(text: &str) -> Self {
        Self::start_with(text, &[]).await
    }

    /// Serves a page with these variables set.
    pub(crate) async fn start_with(text: &str, env: &[(&str, &str)]) -> Self {
        let (folder, file) = page(text);
        let mut command = command();
        command.arg("run").arg(&file).envs(env.iter().copied());
        Self::spawn(command, folder, file).await
    }

    /// Starts the demo, which tells its addresses in a line of its own.
    pub(crate) async fn demo(args: &[&str]) -> Self {
        let (folder, file) = page("");
        let mut command = command();
        command.arg("demo").args(args);
        Self::spawn(command, folder, file).await
    }

    async fn spawn(mut command: Command, folder: TempDir, file: PathBuf) -> Self {
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = Guard(spawned.expect("the binary runs"));
        let printed = Arc::new(Mutex::new(String::new()));
        read_along(child.0.stdout.take().expect("it is piped"), Arc::clone(&printed));
        read_along(child.0.stderr.take().expect("it is piped"), Arc::clone(&printed));
        let (address, admin) = eventually("the gateway says where it listens", async || {
            let said = printed.lock().expect("nobody panics with it").clone();
            let after = |mark: &str| {
                let rest = said.split_once(mark)?.1;
                rest.split(|c: char| c.is_whitespace() || c == ',' || c == '"').next()?.parse().ok()
            };
            let ended = child.0.try_wait().expect("the child can be asked");
            assert!(ended.is_none(), "the gateway ends at once:\n{said}");
            Some((after("listening on http://").or_else(|| after("gateway on http://"))?, after("admin on http://")?))
        })
        .await;
        Self { address, admin, file, child, printed, _folder: folder }
    }

    /// Everything it has printed up to now.
    pub(crate) fn log(&self) -> String {
        self.printed.lock().expect("nobody panics with it").clone()
    }

    /// Replaces its page, as editors do: a new file in the place of the old.
    pub(crate) fn rewrite(&self, text: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).expect("the page is written");
        std::fs::rename(&new, &self.file).expect("the page is replaced");
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.expect("there is a `kill`").success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("the gateway ends", async || self.child.0.try_wait().expect("the child can be asked")).await
    }

    /// Reads an admin page.
    pub(crate) async fn ask(&self, path: &str) -> Answer {
        get(self.admin, path).await
    }

    /// The sum of a metric's samples whose line holds all of these texts.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.ask("/metrics").await.text();
        let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
        lines.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a sample")).sum()
    }

    /// Every timeline that is kept, checked.
    pub(crate) async fn timelines(&self) -> Vec<Timeline> {
        let feed = self.ask("/timelines?limit=5000").await.json();
        let found: Vec<Timeline> = serde_json::from_value(feed["timelines"].clone()).expect("they are timelines");
        found.iter().for_each(sound);
        found
    }

    /// The timeline of the request with this answer, once it is there.
    pub(crate) async fn timeline_of(&self, answer: &Answer) -> Timeline {
        let trace = answer.header("x-request-id").to_owned();
        eventually("the request's timeline", async || {
            let page = self.ask(&format!("/timelines/{trace}")).await;
            let mut found: Vec<Timeline> = serde_json::from_value(page.json()["timelines"].clone()).ok()?;
            found.iter().for_each(sound);
            found.pop()
        })
        .await
    }

    /// The first timeline that fits, once it is there.
    pub(crate) async fn timeline_where(&self, what: &str, fits: impl Fn(&Timeline) -> bool) -> Timeline {
        eventually(what, async || self.timelines().await.into_iter().find(|timeline| fits(timeline))).await
    }
}

/// What every timeline must be: whole, and its states the whole latency.
fn sound(timeline: &Timeline) {
    timeline.check().unwrap_or_else(|error| panic!("{error}: {timeline:#?}"));
    assert_eq!(timeline.root().split().total_ns(), timeline.latency_ns, "{timeline:#?}");
}

fn read_along(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = into.lock().expect("nobody panics with it");
            text.push_str(&line);
            text.push('\n');
        }
    });
}
