//! Point 8: `zerver compare` and `zerver view` on a running demo.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use zerver_telemetry::explain::{Comparison, VerdictKind};

use crate::binary::{Gateway, command, run, zerver};
use crate::support::{PATIENCE, eventually, turn};

/// A demo with a fault, once it has seen enough to say why it is slow.
async fn demo() -> (Gateway, String) {
    let gateway = Gateway::demo(&["--fault", "slow-replica", "--for", "10m", "--rate", "60"]).await;
    let admin = gateway.admin.to_string();
    eventually("there is enough to compare", async || {
        let seen = gateway.metric("zerver_requests_total", &["route=\"checkout\"", "status=\"200\""]).await;
        (seen >= 250.0).then_some(())
    })
    .await;
    (gateway, admin)
}

#[tokio::test]
async fn compare_says_why() {
    let _turn = turn();
    let (_gateway, admin) = demo().await;
    let text = zerver(&["compare", &admin]).await;
    assert_eq!(text.code, 0, "{text:?}");
    assert!(text.out.contains("quotes") && text.out.contains("checkout"), "{}", text.out);

    let json = async |args: &[&str]| -> Comparison {
        let ran = zerver(&[&["compare", &admin, "--format", "json"], args].concat()).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).expect("a comparison")
    };
    let whole = json(&[]).await;
    assert_eq!((whole.route.as_str(), whole.kind), ("checkout", VerdictKind::Cause), "{}", whole.verdict);
    assert!(whole.findings[0].place.ends_with("price.quotes"), "{}", whole.verdict);
    let parts: f64 = whole.parts.iter().map(|part| part.delta_ms).sum();
    assert!((parts - whole.delta_ms).abs() < 0.01, "the parts are the whole: {parts} and {}", whole.delta_ms);

    let ranges = json(&["--route", "checkout", "--fast", "1-40", "--slow", "60-5000"]).await;
    assert!(ranges.a.max_ms <= 40.0 && ranges.b.min_ms >= 60.0, "{:?} {:?}", ranges.a, ranges.b);
    assert_eq!(json(&["--route", "checkout"]).await.route, "checkout");

    // What there is too little of is said to be too little, with a code of its own.
    let none = zerver(&["compare", &admin, "--route", "no such route", "--format", "json"]).await;
    let none_json: Value = serde_json::from_str(&none.out).expect("a comparison");
    assert_eq!((none.code, &none_json["kind"]), (4, &"not_enough_data".into()), "{none:?}");
    assert_eq!(zerver(&["compare", &admin, "--fast", "20-1", "--slow", "1-2"]).await.code, 2);
    assert_eq!(zerver(&["compare", &admin, "--fast", "1-20"]).await.code, 2);
}

#[tokio::test]
async fn compare_says_when_nobody_answers() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = nobody.local_addr().expect("it is bound").to_string();
    drop(nobody);
    let ran = zerver(&["compare", &address]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with(&format!("error: no gateway answers at {address}")), "{}", ran.err);
}

/// A terminal of 120 columns and 36 lines, in a server of its own.
struct Terminal(TempDir);

impl Terminal {
    async fn start(shell: &str) -> Option<Self> {
        let terminal = Self(tempfile::tempdir().expect("the temporary folder can be written"));
        let size = ["-x", "120", "-y", "36"];
        let started = terminal.tmux(&[&["new-session", "-d"], &size[..], &["sh", "-c", shell]].concat()).await;
        started.then_some(terminal)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env("LANG", "C.UTF-8");
        tmux.args(["-u", "-f", "/dev/null", "-S"]).arg(self.0.path().join("socket")).args(args);
        tmux
    }

    async fn tmux(&self, args: &[&str]) -> bool {
        run(self.command(args)).await.code == 0
    }

    async fn show(&self, args: &[&str]) -> String {
        run(self.command(args)).await.out
    }

    /// Waits until the screen shows this, and gives it.
    async fn shows(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.show(&["capture-pane", "-p"]).await;
            if fits(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}:\n{screen}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn press(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).await);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The server is ours: its socket stands in our folder.
        let _ = self.command(&["kill-server"]).output();
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
async fn the_viewer_shows_requests_and_the_verdict() {
    if !Command::new("tmux").arg("-V").output().is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: tmux is missing");
        return;
    }
    let _turn = turn();
    let (_gateway, admin) = demo().await;
    let program = command().get_program().to_str().expect("the path is text").to_owned();
    let shell = format!("'{program}' view {admin}; echo \"left with $?\"; exec cat");
    let terminal = Terminal::start(&shell).await.expect("tmux starts");
    terminal.shows("the overview has the route", |s| s.contains("LIVE") && s.contains("checkout ")).await;
    let state = ["display-message", "-p", "#{alternate_on}"];
    assert_eq!(terminal.show(&state).await.trim(), "1", "the viewer has a screen of its own");
    terminal.press("c").await;
    let compared = terminal.shows("a comparison is there", |screen| screen.contains("─ Cohorts ")).await;
    if !compared.contains("Cohorts  checkout") {
        // The other route had the slower requests when the viewer began.
        terminal.press("]").await;
    }
    let verdict = "waiting at price for the answer of quotes";
    terminal.shows("the verdict is there", |s| s.contains("Cohorts  checkout") && s.contains(verdict)).await;
    terminal.press("2").await;
    let list = |screen: &str| screen.contains("[2 Requests]") && screen.matches("checkout").count() >= 10;
    terminal.shows("the list has requests", list).await;
    terminal.press("q").await;
    let left = terminal.shows("the viewer has ended", |screen| screen.contains("left with")).await;
    assert_eq!(left.trim(), "left with 0", "nothing of the viewer stays");
    let state = ["display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"];
    assert_eq!(terminal.show(&state).await.trim(), "0 1 0", "screen, cursor and mouse are as they were");
    // The line discipline is as it was: what is typed is echoed, and `cat` gets it by the line.
    terminal.press("x").await;
    terminal.press("Enter").await;
    terminal.shows("typing works as before", |screen| screen.lines().filter(|line| *line == "x").count() == 2).await;
}
