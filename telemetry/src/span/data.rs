//! Spans as opentelemetry_sdk's data, for exporters of one's own.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, SpanContext, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, Key as OtelKey, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::settings::scope;
use super::sink::{Head, Key, Said, Sink};
use crate::id::SpanId;

/// Makes [`SpanData`] of what it is told.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) spans: Vec<SpanData>,
    scope: InstrumentationScope,
}

impl Data {
    pub(super) fn new(capacity: usize) -> Self {
        Self { spans: Vec::with_capacity(capacity), scope: scope() }
    }

    fn last(&mut self) -> &mut SpanData {
        self.spans.last_mut().expect("a span is open")
    }
}

impl Sink for Data {
    fn open(&mut self, head: &Head<'_>) {
        let flags = if head.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let trace = opentelemetry::TraceId::from_bytes(head.trace_id.0.to_be_bytes());
        // What the SDK holds to be malformed, it does not take.
        let state = head.trace_state.parse().unwrap_or(TraceState::NONE);
        self.spans.push(SpanData {
            span_context: SpanContext::new(trace, otel_id(head.span_id), flags, false, state),
            parent_span_id: head.parent.map_or(opentelemetry::SpanId::INVALID, otel_id),
            parent_span_is_remote: head.remote,
            span_kind: head.kind.clone(),
            name: match head.name {
                [only, "", ""] => Cow::Owned(only.to_owned()),
                pieces => Cow::Owned(pieces.concat()),
            },
            start_time: time(head.from_unix_ns),
            end_time: time(head.to_unix_ns),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        });
    }

    fn attribute(&mut self, key: Key<'_>, said: Said<'_>) {
        let key = OtelKey::from([key.before, key.own].concat());
        let value = match said {
            Said::Bool(yes) => Value::Bool(yes),
            Said::Int(n) => Value::I64(n),
            Said::Float(x) => Value::F64(x),
            Said::Text(text) => Value::String(text.to_owned().into()),
            Said::Joined(pieces) => Value::String(pieces.concat().into()),
            Said::List(text) => Value::Array(vec![StringValue::from(text.to_owned())].into()),
        };
        let span = self.last();
        let attributes = span.events.events.last_mut().map_or(&mut span.attributes, |event| &mut event.attributes);
        attributes.push(KeyValue::new(key, value));
    }

    fn event(&mut self, name: &'static str, unix_ns: u64) {
        self.last().events.events.push(Event::new(name, time(unix_ns), Vec::new(), 0));
    }

    fn close(&mut self, left_out: u32, failed: bool) {
        let span = self.last();
        span.events.dropped_count = left_out;
        if failed {
            // No description: the code says it all.
            span.status = Status::Error { description: Cow::Borrowed("") };
        }
    }
}

fn time(unix_ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_ns)
}

pub(super) fn otel_id(id: SpanId) -> opentelemetry::SpanId {
    opentelemetry::SpanId::from_bytes(id.0.to_be_bytes())
}
