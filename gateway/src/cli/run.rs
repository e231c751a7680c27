//! `zerver run`: serves a file until it is told to stop; SIGHUP reloads, SIGTERM and SIGINT drain.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::out;
use crate::config::{env, load};
use crate::gateway::{self, Gateway, Page, StartError};
use crate::plan::Own;

pub(super) fn main(file: &Path, own: Own) -> ExitCode {
    out::start_log();
    for warning in env::unknown(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        out::note(format!("warning: {warning}"));
    }
    let page = Page::File(file.to_owned());
    let plan = match gateway::check(&page, &own, &load::process_env) {
        Ok(plan) => plan,
        Err(rejected) => return out::fail(out::WRONG, rejected),
    };
    let runtime = match gateway::runtime(plan.document.workers) {
        Ok(runtime) => runtime,
        Err(error) => return out::fail(1, format!("error: cannot start threads: {error}")),
    };
    let code = runtime.block_on(serve(page, own));
    // Whatever still runs has had its time. It is dropped, so that runs with steps done tell the log.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn serve(page: Page, own: Own) -> ExitCode {
    let (mut term, mut int, mut hup) = match signals() {
        Ok(signals) => signals,
        Err(error) => return out::fail(1, format!("error: cannot listen for signals: {error}")),
    };
    let gateway = match Gateway::start(page, own, Arc::new(load::process_env)).await {
        Ok(gateway) => gateway,
        Err(StartError::Config(rejected)) => return out::fail(out::WRONG, rejected),
        Err(error) => return out::fail(1, format!("error: {error}")),
    };
    out::line(format!("listening on http://{}", gateway.address));
    out::line(format!("admin on http://{}", gateway.admin_address));
    out::line(format!("why is it slow? zerver view {}", gateway.admin_address));
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => {
                if let Some(reloader) = &gateway.reloader {
                    // What is wrong with the file is in the log.
                    let _ = reloader.reload().await;
                }
            }
        }
    }
    out::note("stopping: running requests end first; a second signal stops at once");
    let ended = tokio::select! {
        ended = gateway.stop() => ended,
        _ = term.recv() => return out::fail(1, "stopped at once"),
        _ = int.recv() => return out::fail(1, "stopped at once"),
    };
    if ended.cut > 0 {
        out::note(format!("{} connections were cut after the time to drain", ended.cut));
    }
    ExitCode::SUCCESS
}

type Signal = tokio::signal::unix::Signal;

fn signals() -> std::io::Result<(Signal, Signal, Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?))
}
