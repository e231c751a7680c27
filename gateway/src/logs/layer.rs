//! From what the program says (`tracing`, and `log` by way of it) to records: redacted, and tied to the request they belong to.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use zerver_telemetry::clock::Clock;
use zerver_telemetry::logs::{Entry, Record, Severity, Sink};
use zerver_telemetry::redact::Redaction;
use zerver_telemetry::timeline::Value;

use crate::probe;

/// The most bytes of a message, or of a panic's backtrace; what is longer is cut.
const BODY_MAX: usize = 16 * 1024;
/// The same for the value of a field.
const FIELD_MAX: usize = 4 * 1024;

/// What the layer needs to know, and whoever changes the log may replace.
pub(super) struct Ends {
    /// Where records go.
    pub(super) sinks: ArcSwap<Vec<Arc<dyn Sink>>>,
    /// What they must not show.
    pub(super) rules: ArcSwap<Redaction>,
    pub(super) clock: Clock,
}

/// Makes records of events.
pub(super) struct Records(pub(super) Arc<Ends>);

impl<S: Subscriber> Layer<S> for Records {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let ends = &*self.0;
        let rules = ends.rules.load();
        let meta = event.metadata();
        let mut said =
            Said { rules: &rules, body: String::new(), scope: None, fields: Vec::new(), trace: None, request: None };
        event.record(&mut said);
        let Said { body, scope, fields, trace, request, .. } = said;
        // An event that names its own request tells of another than the one under whose poll it is said.
        let here = probe::identity().filter(|here| trace.is_none_or(|trace| trace == here.trace_id));
        let record = Record {
            unix_ns: ends.clock.unix_ns(ends.clock.now()),
            severity: match *meta.level() {
                Level::ERROR => Severity::Error,
                Level::WARN => Severity::Warn,
                Level::INFO => Severity::Info,
                Level::DEBUG => Severity::Debug,
                Level::TRACE => Severity::Trace,
            },
            scope: scope.map_or(Cow::Borrowed(meta.target()), Cow::Owned),
            body,
            attributes: fields,
            trace_id: trace.or(here.as_ref().map(|here| here.trace_id)),
            span_id: here.as_ref().map(|here| here.span_id),
            request_id: request.or_else(|| here.and_then(|here| here.request_id)),
        };
        let entry = Entry::Record(Box::new(record));
        let sinks = ends.sinks.load();
        if let [sink] = sinks.as_slice() {
            sink.offer(entry);
        } else {
            sinks.iter().for_each(|sink| sink.offer(entry.clone()));
        }
    }
}

/// The fields of an event, as they are read.
struct Said<'r> {
    rules: &'r Redaction,
    body: String,
    scope: Option<String>,
    fields: Vec<(Cow<'static, str>, Value)>,
    trace: Option<zerver_telemetry::id::TraceId>,
    request: Option<String>,
}

impl Said<'_> {
    fn text(&mut self, name: &'static str, text: &str) {
        let cut = |max: usize| &text[..text.floor_char_boundary(max)];
        match name {
            "message" => self.body = self.rules.text(cut(BODY_MAX)).into_owned(),
            "trace_id" => match text.parse() {
                Ok(trace) => self.trace = Some(trace),
                Err(_) => self.put(name, Value::Text(self.rules.text(cut(FIELD_MAX)).into())),
            },
            "request_id" => self.request = Some(self.rules.text(cut(FIELD_MAX)).into_owned()),
            // How a record of the `log` crate says where it comes from; line and file are of no use to readers.
            "log.target" => self.scope = Some(text.to_owned()),
            name if name.starts_with("log.") => {}
            "backtrace" => self.put(name, Value::Text(self.rules.text(cut(BODY_MAX)).into())),
            name => self.put(name, Value::Text(self.rules.field(name, cut(FIELD_MAX)).into())),
        }
    }

    fn put(&mut self, name: &'static str, value: Value) {
        self.fields.push((Cow::Borrowed(name.strip_prefix("r#").unwrap_or(name)), value));
    }
}

impl Visit for Said<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name().starts_with("log.") {
            return;
        }
        // A number may be a card's, or go by a secret's name.
        let text = value.to_string();
        match self.rules.field(field.name(), &text) {
            shown if *shown == text => self.put(field.name(), Value::Int(value)),
            masked => {
                let masked = Value::Text(masked.into());
                self.put(field.name(), masked);
            }
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            Err(_) => self.text(field.name(), &value.to_string()),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), Value::Bool(value));
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Record>>);

    impl Sink for Kept {
        fn offer(&self, entry: Entry) {
            self.0.lock().extend(entry.records());
        }
    }

    fn said(what: impl FnOnce()) -> Vec<Record> {
        let kept = Arc::new(Kept::default());
        let ends = Ends {
            sinks: ArcSwap::from_pointee(vec![Arc::clone(&kept) as Arc<dyn Sink>]),
            rules: ArcSwap::default(),
            clock: Clock::manual(),
        };
        let subscriber = tracing_subscriber::registry().with(Records(Arc::new(ends)));
        tracing::subscriber::with_default(subscriber, what);
        std::mem::take(&mut *kept.0.lock())
    }

    #[test]
    fn an_event_becomes_a_redacted_record() {
        let records = said(|| {
            tracing::warn!(
                peer = "10.0.0.1:80",
                tries = 3,
                share = 0.5,
                password = "hunter2",
                cvv = 123,
                error = %"no answer to /a?token=abc",
                trace_id = %"4bf92f3577b34da6a3ce929d0e0e4736",
                "failed with Bearer s3cr3t"
            );
        });
        let record = &records[0];
        assert_eq!((record.severity, &*record.body), (Severity::Warn, "failed with Bearer ‹masked›"));
        let fields: Vec<String> = record.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            fields,
            [
                "peer=10.0.0.1:80",
                "tries=3",
                "share=0.5",
                "password=‹masked›",
                "cvv=‹masked›",
                "error=no answer to /a?token=‹masked›"
            ]
        );
        assert_eq!(record.trace_id.map(|id| id.to_string()).as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(record.scope.ends_with("logs::layer::tests"), "{}", record.scope);
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "ü".repeat(20_000);
        let records = said(|| tracing::info!(long, "{long}"));
        let record = &records[0];
        assert!(record.body.len() <= BODY_MAX && record.attributes[0].1.to_string().len() <= FIELD_MAX);
        assert!(record.body.chars().all(|c| c == 'ü'));
    }
}
