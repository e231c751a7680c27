//! One line of a log as data: what OpenTelemetry's log data model asks for, before any form is chosen.

use std::borrow::Cow;

use crate::id::{SpanId, TraceId};
use crate::timeline::Value;

/// How much a record matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For following a single thing.
    Trace,
    /// For finding a fault.
    Debug,
    /// What happens.
    Info,
    /// What may become a fault.
    Warn,
    /// A fault.
    Error,
}

impl Severity {
    /// The `SeverityNumber` of OpenTelemetry's log data model.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Trace => 1,
            Self::Debug => 5,
            Self::Info => 9,
            Self::Warn => 13,
            Self::Error => 17,
        }
    }

    /// The word for it in lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// One thing that was said.
///
/// Whoever makes a record has redacted it: what writes or sends records shows all that is in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When, in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// How much it matters.
    pub severity: Severity,
    /// Who says it: the instrumentation scope, a module's path such as `zerver::reload`.
    pub scope: Cow<'static, str>,
    /// What is said.
    pub body: String,
    /// What else is known, in the order of its saying.
    pub attributes: Vec<(Cow<'static, str>, Value)>,
    /// The trace it belongs to.
    pub trace_id: Option<TraceId>,
    /// The span it belongs to.
    pub span_id: Option<SpanId>,
    /// The request it belongs to, where its client gave it a name.
    pub request_id: Option<String>,
}

impl Record {
    /// Memory that it takes while it waits, by estimate.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
        let attributes =
            self.attributes.iter().map(|(key, value)| key.len() + text(value) + size_of::<(String, Value)>());
        size_of::<Self>() + self.body.len() + attributes.sum::<usize>()
    }
}
