//! The hidden half of the program: the servers that are measured, each in a process of its own.
//!
//! A server says `ready <address>` on its standard output, then obeys words on its standard input, and ends when that
//! ends: so it never outlives the benchmark.

mod origin;
mod bare;
mod gateway;

use std::error::Error;
use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;

use zerver_telemetry::recorder::RECORDING;

use crate::alloc;

/// Begins counting allocations.
pub(crate) const COUNT: &str = "count";
/// Ends counting; answered with the number of allocations and of bytes.
pub(crate) const COUNTED: &str = "counted";

/// Threads that serve, in each of the servers: the load and the origin need processors too.
const WORKERS: usize = 1;

/// `serve origin`, `serve bare <origin>`, `serve gateway <origin>`, or in a build without the recorder `serve unrecorded <origin>`.
pub(crate) fn main(words: &[String]) -> Result<(), Box<dyn Error>> {
    let runtime = zerver::gateway::runtime(WORKERS)?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["origin"] => obey(runtime.block_on(origin::start())?),
        ["bare", origin] => obey(runtime.block_on(bare::start(origin.parse()?))?),
        [kind @ ("gateway" | "unrecorded"), origin] => {
            if RECORDING == (kind == "unrecorded") {
                return Err("this is the other build".into());
            }
            let gateway = runtime.block_on(gateway::start(origin.parse()?))?;
            obey(gateway.address)?;
            runtime.block_on(gateway.stop());
            Ok(())
        }
        _ => Err("serve origin | bare <origin> | gateway <origin> | unrecorded <origin>".into()),
    }
}

fn obey(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    writeln!(out, "ready {address}")?;
    for line in io::stdin().lock().lines() {
        match line?.as_str() {
            COUNT => {
                alloc::start_counting();
                writeln!(out, "counting")?;
            }
            COUNTED => {
                let seen = alloc::stop_counting();
                writeln!(out, "{} {}", seen.calls, seen.bytes)?;
            }
            other => return Err(format!("unknown word `{other}`").into()),
        }
    }
    Ok(())
}
