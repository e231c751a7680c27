//! `zerver run`: serves a file until it is told to stop; SIGHUP reloads, SIGTERM and SIGINT drain.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::out;
use crate::config::{env, load};
use crate::gateway::{self, Gateway, Page, StartError};
use crate::logs::Logging;
use crate::plan::Own;

pub(super) fn main(file: &Path, own: Own) -> ExitCode {
    for warning in env::unknown(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        out::note(format!("warning: {warning}"));
    }
    let page = Page::File(file.to_owned());
    let plan = match gateway::check(&page, &own, &load::process_env) {
        Ok(plan) => plan,
        Err(rejected) => return out::fail(out::WRONG, rejected),
    };
    let logging = match Logging::process(&plan.document, Arc::clone(&plan.redaction)) {
        Ok(logging) => logging,
        Err(error) => return out::fail(1, format!("error: {error}")),
    };
    let runtime = match gateway::runtime(plan.document.workers) {
        Ok(runtime) => runtime,
        Err(error) => return out::fail(1, format!("error: cannot start threads: {error}")),
    };
    let code = runtime.block_on(serve(page, own, Arc::clone(&logging)));
    // Whatever still runs has had its time. It is dropped, so that runs with steps done tell the log.
    runtime.shutdown_timeout(Duration::from_secs(1));
    logging.flush(Duration::from_secs(1));
    code
}

async fn serve(page: Page, own: Own, logging: Arc<Logging>) -> ExitCode {
    let (mut term, mut int, mut hup) = match signals() {
        Ok(signals) => signals,
        Err(error) => return out::fail(1, format!("error: cannot listen for signals: {error}")),
    };
    let gateway = match Gateway::start_logging(page, own, Arc::new(load::process_env), logging).await {
        Ok(gateway) => gateway,
        Err(StartError::Config(rejected)) => return out::fail(out::WRONG, rejected),
        Err(error) => return out::fail(1, format!("error: {error}")),
    };
    announce(&gateway);
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
    tracing::info!("stopping: running requests end first; a second signal stops at once");
    let ended = tokio::select! {
        ended = gateway.stop() => ended,
        _ = term.recv() => return out::fail(1, "stopped at once"),
        _ = int.recv() => return out::fail(1, "stopped at once"),
    };
    if ended.cut > 0 {
        tracing::warn!(connections = ended.cut, "connections were cut after the time to drain");
    }
    ExitCode::SUCCESS
}

/// Says where it listens: on standard output, unless that belongs to the access log.
fn announce(gateway: &Gateway) {
    let (address, admin) = (gateway.address, gateway.admin_address);
    if gateway.live.plan().document.access_log.as_ref().is_some_and(|access| *access.to == "stdout") {
        tracing::info!("listening on http://{address}, admin on http://{admin}");
        return;
    }
    out::line(format!("listening on http://{address}"));
    out::line(format!("admin on http://{admin}"));
    out::line(format!("why is it slow? zerver view {admin}"));
}

type Signal = tokio::signal::unix::Signal;

fn signals() -> std::io::Result<(Signal, Signal, Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?))
}
