//! `zerver view`: the terminal viewer on a running gateway or a capture.

use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;

use clap::Args;
use zerver_viewer::{Engine, Options, Source};

use super::out;

/// What `zerver view` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The admin address of a running gateway, or a capture file.
    #[arg(default_value = "127.0.0.1:9901")]
    source: String,
    /// The filter to begin with, as `/` takes it.
    #[arg(long)]
    filter: Option<String>,
    /// Draw with ASCII only.
    #[arg(long)]
    ascii: bool,
    /// Leave the mouse to the terminal.
    #[arg(long)]
    no_mouse: bool,
    /// The admin token, when the gateway wants one.
    #[arg(long, env = "ZER_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let source = Source::parse(&arguments.source, arguments.token.clone());
    let mut options = Options::from_env();
    options.filter.clone_from(&arguments.filter);
    options.ascii |= arguments.ascii;
    options.mouse &= !arguments.no_mouse;
    show(source, options)
}

/// How long the viewer may take to leave once it was told to.
const LEAVE_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Opens the viewer. SIGTERM and SIGHUP leave it as `q` does, with the terminal as it was.
pub(super) fn show(source: Source, options: Options) -> ExitCode {
    let stop = options.stop.clone();
    let listener = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let listener = match listener {
        Ok(runtime) => runtime,
        Err(error) => return out::fail(1, format!("error: cannot start threads: {error}")),
    };
    listener.spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut hup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
            return;
        };
        let code = tokio::select! {
            _ = term.recv() => 143,
            _ = hup.recv() => 129,
        };
        stop.store(true, Relaxed);
        // The library that reads keys never returns from a terminal that is gone; there is nothing to restore then.
        tokio::time::sleep(LEAVE_WITHIN).await;
        std::process::exit(code);
    });
    let shown = zerver_viewer::run(source, options, Engine::default());
    listener.shutdown_background();
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out::fail(1, format!("error: {error}")),
    }
}
