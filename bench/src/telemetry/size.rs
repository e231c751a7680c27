//! How many bytes a timeline takes: while it waits in the ring, while it is kept, and in a recording.

use std::error::Error;
use std::io;

use zerver_telemetry::clock::Clock;
use zerver_telemetry::recorder::Recorder;
use zerver_telemetry::recording::{Header, Writer};

use crate::alloc;
use crate::table::{Row, Table};
use crate::telemetry::gateway::{Spans, Telemetry};
use crate::telemetry::request::{self, RECORDS, Stamps, Words};

/// Requests that are weighed.
const REQUESTS: u64 = 2_000;

/// Weighs timelines into `table`.
pub(super) fn measure(table: &mut Table) -> Result<(), Box<dyn Error>> {
    let recorder = Recorder::for_tests(Clock::real());
    let words = Words::new(recorder.names());
    // None was used before, so each logbook is made now.
    let seen = alloc::counted(|| {
        (0..REQUESTS).for_each(|_| request::record(&recorder, &words, Stamps::Each, false));
    });
    let each = |bytes: u64| bytes as f64 / REQUESTS as f64;
    let name = format!("timeline of {RECORDS} records: while it waits in the ring");
    table.add(Row::new(name, each(seen.bytes), "B").at_most(1_536.0));

    let telemetry = Telemetry::start(Spans::Dropped)?;
    telemetry.serve(REQUESTS);
    telemetry.collect();
    let store = telemetry.collector.store();
    let kept = store.retained();
    let name = format!("timeline of {RECORDS} records: while it is kept in memory, by the store's estimate");
    table.add(Row::new(name, kept.bytes as f64 / kept.timelines as f64, "B"));

    let timelines = store.snapshot();
    let mut writer = Writer::new(Weight(0), &Header::new("bench", 0))?;
    let header = writer_weight(&Header::new("bench", 0))?;
    for timeline in &timelines {
        writer.write(timeline)?;
    }
    let bytes = writer.finish()?.0 - header;
    let name = format!("timeline of {RECORDS} records: in a recording");
    table.add(Row::new(name, bytes as f64 / timelines.len() as f64, "B").at_most(300.0));
    Ok(())
}

fn writer_weight(header: &Header) -> io::Result<u64> {
    Ok(Writer::new(Weight(0), header)?.finish()?.0)
}

/// Counts bytes instead of writing them.
#[derive(Debug)]
struct Weight(u64);

impl io::Write for Weight {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
