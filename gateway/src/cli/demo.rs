//! `zerver demo`: the demo in a terminal's viewer, or without one for a while, ending in the comparison.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clap::Args;
use zerver_telemetry::explain::{self, Cohorts};

use super::{compare, out};
use crate::config::duration;
use crate::demo::Demo;
use crate::demo::fault::Fault;
use crate::gateway;

/// What `zerver demo` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What goes wrong.
    #[arg(long, value_enum, default_value = "slow-replica")]
    fault: Fault,
    /// Run this long without a viewer, then print the comparison (default without a terminal: 15s).
    #[arg(long = "for", value_parser = parse_duration)]
    time: Option<Duration>,
    /// Requests a second, at most 2,000.
    #[arg(long, default_value_t = 150.0)]
    rate: f64,
    /// The address of the proxy; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
    /// The address of the admin listener; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    admin: String,
    /// The form of the comparison.
    #[arg(long, value_enum, default_value = "text")]
    format: out::Format,
    /// List the faults and end.
    #[arg(long)]
    list: bool,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

/// More workers than processors: a step that computes must not keep the others from noticing their answers.
const WORKERS: usize = 4;

/// What is not compared, at the beginning.
const WARM_UP: Duration = Duration::from_secs(2);

/// How long the demo runs where there is no terminal and nothing was said.
const WITHOUT_TERMINAL: Duration = Duration::from_secs(15);

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    if arguments.list {
        for fault in Fault::ALL {
            out::line(format!("{:13} {}", fault.name(), fault.about()));
        }
        return ExitCode::SUCCESS;
    }
    if !(arguments.rate > 0.0 && arguments.rate <= 2_000.0) {
        return out::fail(out::WRONG, "error: --rate lies between 1 and 2000 requests a second");
    }
    let runtime = match gateway::runtime(WORKERS) {
        Ok(runtime) => runtime,
        Err(error) => return out::fail(1, format!("error: cannot start threads: {error}")),
    };
    let code = match arguments.time {
        Some(time) => runtime.block_on(timed(arguments, time)),
        None if has_terminal() => with_viewer(&runtime, arguments),
        None => runtime.block_on(timed(arguments, WITHOUT_TERMINAL)),
    };
    runtime.shutdown_background();
    code
}

fn has_terminal() -> bool {
    use std::io::IsTerminal as _;
    cfg!(feature = "viewer") && std::io::stdout().is_terminal() && std::io::stdin().is_terminal()
}

async fn timed(arguments: &Arguments, time: Duration) -> ExitCode {
    let mut demo = match Demo::start(arguments.fault, &arguments.listen, &arguments.admin).await {
        Ok(demo) => demo,
        Err(error) => return out::fail(1, format!("error: {error}")),
    };
    out::note(format!(
        "demo: gateway on http://{}, admin on http://{}, {} requests/s for {}",
        demo.gateway.address,
        demo.gateway.admin_address,
        arguments.rate,
        duration::render(time)
    ));
    out::note(format!("injected: {}: {}", arguments.fault.name(), arguments.fault.about()));
    demo.send(arguments.rate);
    // The first connections are made, the first pages touched: slow for a reason that nobody asked about.
    tokio::time::sleep(WARM_UP).await;
    let live = Arc::clone(&demo.gateway.live);
    live.collector.flush();
    let warm = live.store.snapshot().last().map_or(0, |timeline| timeline.seq);
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        _ = tokio::signal::ctrl_c() => out::note("stopping early"),
    }
    if let Some(tally) = demo.settle().await {
        out::note(format!(
            "sent {}, good {}, failed {}, held back {}",
            tally.sent.load(Relaxed),
            tally.good.load(Relaxed),
            tally.failed.load(Relaxed),
            tally.held_back.load(Relaxed)
        ));
    }
    let compared = tokio::task::spawn_blocking(move || {
        live.collector.flush();
        let mut kept = live.store.snapshot();
        kept.retain(|timeline| timeline.seq > warm);
        explain::compare(&kept, Some("checkout"), &Cohorts::SlowVersusFast)
    });
    let code = match compared.await {
        Ok(comparison) => {
            let code = compare::print(&comparison, arguments.format);
            let found = arguments.fault.is_found_by(&comparison);
            out::note(if found {
                "the verdict names the injected fault"
            } else {
                "the verdict does not name the injected fault"
            });
            code
        }
        Err(error) => out::fail(1, format!("error: the comparison failed: {error}")),
    };
    demo.stop().await;
    code
}

#[cfg(feature = "viewer")]
fn with_viewer(runtime: &tokio::runtime::Runtime, arguments: &Arguments) -> ExitCode {
    let mut demo = match runtime.block_on(Demo::start(arguments.fault, &arguments.listen, &arguments.admin)) {
        Ok(demo) => demo,
        Err(error) => return out::fail(1, format!("error: {error}")),
    };
    demo.send(arguments.rate);
    let source = zerver_viewer::Source::Live { addr: demo.gateway.admin_address.to_string(), token: None };
    let code = super::view::show(source, zerver_viewer::Options::from_env());
    runtime.block_on(demo.stop());
    out::line(format!("injected was: {}: {}", arguments.fault.name(), arguments.fault.about()));
    code
}

#[cfg(not(feature = "viewer"))]
fn with_viewer(runtime: &tokio::runtime::Runtime, arguments: &Arguments) -> ExitCode {
    runtime.block_on(timed(arguments, WITHOUT_TERMINAL))
}
