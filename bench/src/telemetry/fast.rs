//! The request as `fastrace` notes it: local spans below one root, a reporter that counts.
//!
//! Its collector is one for the process, so there is one of these at a time.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fastrace::collector::{Config, Reporter, SpanContext, SpanId, SpanRecord, TraceId};
use fastrace::local::LocalSpan;
use fastrace::{Event, Span};

use crate::telemetry::sdk::{EFFECT_EVENTS, EFFECT_NAMES, EFFECTS, STEP_EVENTS, STEP_NAMES};

/// What was reported so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Counting(Arc<AtomicU64>);

impl Reporter for Counting {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        self.0.fetch_add(spans.len() as u64, Relaxed);
    }
}

impl Counting {
    /// Makes it the reporter of this process.
    pub(super) fn start() -> Self {
        let own = Self::default();
        // It reports when it is told to, or when much waits.
        fastrace::set_reporter(own.clone(), Config::default().report_interval(Duration::from_secs(3_600 * 24)));
        own
    }

    /// Spans that were reported.
    pub(super) fn spans(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Where the texts of its attributes come from: it has no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// Numbers, made a text each, as they must be where they are not known before.
    Formatted,
    /// Texts that were there all along.
    Known,
}

/// Notes that many requests, each a trace of its own.
pub(super) fn serve(number: &mut u64, requests: u64, values: Values) {
    for _ in 0..requests {
        *number += 1;
        request(*number, values);
    }
}

fn request(number: u64, values: Values) {
    let context = SpanContext::new(TraceId(u128::from(number)), SpanId(0));
    let root = Span::root("GET /checkout", context);
    let _local = root.set_local_parent();
    let mut effect = 0;
    for (name, effects) in STEP_NAMES.into_iter().zip(EFFECTS) {
        let _step = LocalSpan::enter_with_local_parent(name);
        events(STEP_EVENTS, values);
        for _ in 0..effects {
            let _effect = LocalSpan::enter_with_local_parent(EFFECT_NAMES[effect]);
            events(EFFECT_EVENTS, values);
            effect += 1;
        }
    }
}

fn events(count: u64, values: Values) {
    for n in 0..count {
        LocalSpan::add_event(Event::new("state").with_properties(|| {
            let value = |number: u64, known: &'static str| match values {
                Values::Formatted => Cow::Owned(number.to_string()),
                Values::Known => Cow::Borrowed(known),
            };
            [("cause", value(n, "1")), ("worker", value(n + 1, "2")), ("queue", value(n + 2, "3"))]
        }));
    }
}
