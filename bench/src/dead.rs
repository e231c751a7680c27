//! A collector that is not there: memory stays flat, no request is slower for it, and every span that is lost is counted.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use zerver_telemetry::export::{DropCause, ExportCounters};

use crate::machine::{Watch, own_cpu_ns, resident};
use crate::sample::Sample;
use crate::table::{Row, Table};
use crate::telemetry::gateway::{Spans, Telemetry};
use crate::telemetry::request::SPANS;

/// Requests of a full run.
pub(crate) const REQUESTS: u64 = 10_000_000;
/// Requests of a quick one.
pub(crate) const QUICK: u64 = 300_000;

/// Requests between two looks of the collector, as at 20,000 a second.
const BATCH: u64 = 1_000;
/// Of so many stretches one is run without export too, to compare with.
const COMPARED: u64 = 10;
/// Requests that the one without export sees first: its store is full from then on, so that what grows is the other's.
const WARM: u64 = 20_000;
/// The run is looked at in so many parts; the first fills what has a bound: the store, the queue, the pools.
const PARTS: u64 = 10;
/// The most that a wait for the exporter's end may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// Runs `requests` requests, all of them sampled, and writes the table.
///
/// # Errors
/// When a span is not accounted for, or the machine does not say what is asked.
pub(crate) fn run(requests: u64) -> Result<(), Box<dyn Error>> {
    let watch = Watch::start(&[]);
    let (exporting, alone) = (Telemetry::start(Spans::Sent(nobody()?))?, Telemetry::start(Spans::Dropped)?);
    let stretch = |telemetry: &Telemetry| {
        let before = own_cpu_ns();
        telemetry.serve(BATCH);
        let own = own_cpu_ns() - before;
        telemetry.collect();
        own / BATCH as f64
    };
    for _ in 0..WARM / BATCH {
        stretch(&alone);
    }
    let batches = requests.div_ceil(BATCH).max(PARTS);
    let (mut with, mut without) = (Sample::default(), Sample::default());
    // The largest of each part, in MiB.
    let mut memory = [0.0_f64; PARTS as usize];
    for batch in 0..batches {
        let own = stretch(&exporting);
        if batch % COMPARED == 0 {
            with.0.push(own);
            without.0.push(stretch(&alone));
        }
        let part = (batch * PARTS / batches) as usize;
        memory[part] = memory[part].max(resident()? as f64 / f64::from(1 << 20));
    }
    let waiting = exporting.spans();
    let recorded = exporting.recorder.counters();
    let ended = exporting.stop(DEADLINE);
    let shared = watch.end();

    let mut table = Table::new("dead");
    table.add(Row::new("requests, all of them sampled, the collector's port closed", recorded.finished as f64, ""));
    for (part, peak) in memory.iter().enumerate() {
        table.add(Row::new(format!("memory, the most in part {} of {PARTS}", part + 1), *peak, "MiB"));
    }
    let (early, late) = (memory[1].max(memory[2]), memory[PARTS as usize - 1]);
    let row = Row::new("memory, the last part / the second and third", late / early, "x");
    table.add(row.against("second and third, MiB", early).at_most(1.1));
    table.add(Row::new("request's own path, without export", without.clone(), "ns"));
    table.add(
        Row::new("request's own path, with a dead collector", with.clone(), "ns")
            .against("without export, ns", without.median()),
    );
    table.add(Row::new("request's own path, dead collector / no export", with.over(&without), "x").at_most(1.05));
    let (most, bytes) = (waiting.waiting as f64, waiting.waiting_bytes as f64 / f64::from(1 << 20));
    table.add(Row::new("spans waiting at the end", most, "").at_most(65_536.0));
    table.add(Row::new("spans waiting at the end, their memory", bytes, "MiB").at_most(64.0));
    table.add(Row::new("spans offered", ended.offered as f64, ""));
    table.add(Row::new("spans sent", ended.sent as f64, "").at_most(0.0));
    for cause in DropCause::ALL {
        let lost = ended.dropped_for(cause) as f64;
        table.add(Row::new(format!("spans lost: {}", cause.as_str()), lost, ""));
    }
    table.add(Row::new("attempts that failed", ended.failures as f64, ""));
    table.add(Row::new("timelines lost before the exporter", recorded.lost_timelines as f64, "").at_most(0.0));
    let unaccounted = unaccounted(recorded.finished - recorded.lost_timelines, &ended);
    table.add(Row::new("spans not accounted for", unaccounted as f64, "").at_most(0.0));
    table.finish(shared)?;
    match unaccounted {
        0 => Ok(()),
        _ => Err(format!("{unaccounted} spans are not accounted for: {ended:?}").into()),
    }
}

/// How far offered, sent, dropped and waiting are from the spans of that many requests.
fn unaccounted(requests: u64, spans: &ExportCounters) -> u64 {
    let settled = spans.sent + spans.dropped_in_all() + spans.waiting;
    (requests * SPANS).abs_diff(spans.offered) + spans.offered.abs_diff(settled)
}

/// An address where nobody listens: whoever connects is refused at once.
fn nobody() -> std::io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use zerver_telemetry::export::settings::Waiting;
    use zerver_telemetry::recorder::RecorderSettings;

    use super::*;

    /// Eight times what fills the queue, three times what fills the store; unoptimised code takes some seconds for it.
    const TESTED: u64 = 50_000;

    #[test]
    fn with_a_dead_collector_all_bounds_hold_and_every_span_is_counted() {
        let telemetry = Telemetry::start(Spans::Sent(nobody().expect("a port"))).expect("threads start");
        let (bounds, ring) = (Waiting::default(), RecorderSettings::default().ring as u64);
        let kept = zerver_telemetry::exemplars::RetentionSettings::default();
        for _ in 0..TESTED / BATCH {
            telemetry.serve(BATCH);
            telemetry.collect();
            let spans = telemetry.spans();
            assert!(spans.waiting <= bounds.items as u64 && spans.waiting_bytes <= bounds.bytes as u64, "{spans:?}");
            let held = telemetry.collector.store().retained();
            assert!(held.bytes <= kept.bytes && held.recent <= kept.recent && held.uniform <= kept.uniform, "{held:?}");
        }
        let recorded = telemetry.recorder.counters();
        assert!(recorded.logbooks <= ring && recorded.lost_timelines == 0, "{recorded:?}");
        let ended = telemetry.stop(Duration::ZERO);
        assert_eq!((recorded.finished, unaccounted(TESTED, &ended)), (TESTED, 0), "{ended:?}");
        assert_eq!((ended.sent, ended.waiting), (0, 0));
        // More than may wait was offered; what waited at the end is lost by the end.
        assert!(ended.dropped_for(DropCause::QueueFull) > 0 && ended.dropped_for(DropCause::Shutdown) > 0, "{ended:?}");
    }
}
