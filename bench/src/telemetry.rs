//! What telemetry costs a request: zerver's recorder by itself, then beside OpenTelemetry's SDK, `tracing`, `fastrace` and nothing.

pub(crate) mod request;
mod recorder;
mod receiver;
mod contest;
pub(crate) mod gateway;
mod sdk;
mod fast;
mod size;
mod report;

use std::error::Error;

use crate::length::Length;
use crate::machine::Watch;
use crate::table::Table;

pub(crate) fn run(length: Length) -> Result<(), Box<dyn Error>> {
    let watch = Watch::start(&[]);
    let mut table = Table::new("telemetry");
    recorder::measure(&mut table, length)?;
    report::measure(&mut table, length)?;
    size::measure(&mut table)?;
    table.finish(watch.end())?;
    Ok(())
}
