//! A record as a line: text for people, JSON for machines. No value can end its line or pretend to be another.

use std::fmt::{Display, Write as _};

use serde::{Deserialize, Serialize};

use super::record::{Record, Severity};
use super::when::Rfc3339;
use crate::timeline::Value;

/// The form of the application log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `time LEVEL scope: message key=value …`
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Appends the line of a record, its end included. `colour` is for terminals, and for text alone.
pub(super) fn write(out: &mut String, record: &Record, form: Form, colour: bool) {
    match form {
        Form::Text => text(out, record, colour),
        Form::Json => json(out, record),
    }
}

fn text(out: &mut String, record: &Record, colour: bool) {
    let word = record.severity.as_str();
    let _ = write!(out, "{} ", Rfc3339(record.unix_ns));
    let _ = if colour {
        let shade = match record.severity {
            Severity::Trace => "35",
            Severity::Debug => "34",
            Severity::Info => "32",
            Severity::Warn => "33",
            Severity::Error => "31",
        };
        write!(out, "\x1b[{shade}m{word:>5}\x1b[0m")
    } else {
        write!(out, "{word:>5}")
    };
    let _ = write!(out, " {}: ", record.scope);
    // A message may have several lines; those after the first are set in, so that none looks like a record.
    for (n, line) in record.body.trim_end().split('\n').enumerate() {
        if n > 0 {
            out.push_str("\n    ");
        }
        line.chars().for_each(|c| push_visible(out, c));
    }
    for (key, value) in &record.attributes {
        pair(out, key, value);
    }
    if let Some(trace) = record.trace_id {
        pair(out, "trace_id", trace);
    }
    if let Some(request) = &record.request_id {
        pair(out, "request_id", request);
    }
    out.push('\n');
}

fn pair(out: &mut String, key: &str, value: impl Display) {
    let value = value.to_string();
    let bare = |c: char| !(c.is_whitespace() || c.is_control() || c == '"' || c == '=');
    let _ = write!(out, " {key}=");
    if !value.is_empty() && value.chars().all(bare) {
        out.push_str(&value);
        return;
    }
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => push_visible(out, c),
        }
    }
    out.push('"');
}

/// Control characters could move a terminal's cursor or forge a line.
fn push_visible(out: &mut String, c: char) {
    if c.is_control() {
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
    } else {
        out.push(c);
    }
}

fn json(out: &mut String, record: &Record) {
    let mut line = JsonLine::begin(out);
    line.text("time", Rfc3339(record.unix_ns));
    line.text("level", record.severity.as_str());
    line.text("scope", &*record.scope);
    line.text("message", &*record.body);
    if let Some(id) = record.trace_id {
        line.text("trace_id", id);
    }
    if let Some(id) = record.span_id {
        line.text("span_id", id);
    }
    if let Some(id) = &record.request_id {
        line.text("request_id", id);
    }
    if !record.attributes.is_empty() {
        let mut fields = line.object("fields");
        for (key, value) in &record.attributes {
            fields.value(key, value);
        }
        fields.end();
    }
    line.end();
    out.push('\n');
}

/// A JSON object in the making.
pub(super) struct JsonLine<'o> {
    out: &'o mut String,
    first: bool,
}

impl<'o> JsonLine<'o> {
    pub(super) fn begin(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    fn key(&mut self, key: &str) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        quote(self.out, key);
        self.out.push(':');
    }

    pub(super) fn text(&mut self, key: &str, value: impl Display) {
        self.key(key);
        quote(self.out, &value.to_string());
    }

    pub(super) fn value(&mut self, key: &str, value: &Value) {
        match value {
            Value::Text(text) => self.text(key, text),
            // JSON has no number for these.
            Value::Float(x) if !x.is_finite() => self.text(key, x),
            Value::Float(x) => {
                self.key(key);
                // With its point, so that a reader sees a real number in each line.
                let _ = write!(self.out, "{x:?}");
            }
            plain => {
                self.key(key);
                let _ = write!(self.out, "{plain}");
            }
        }
    }

    fn object(&mut self, key: &str) -> JsonLine<'_> {
        self.key(key);
        JsonLine::begin(self.out)
    }

    pub(super) fn end(self) {
        self.out.push('}');
    }
}

/// RFC 8259, section 7.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // The separators of lines and paragraphs end a line for some readers.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::TraceId;

    fn record() -> Record {
        Record {
            unix_ns: 1_795_386_516_123_456_789,
            severity: Severity::Warn,
            scope: "zerver::reload".into(),
            body: "no good\nat line 2".into(),
            attributes: vec![
                ("peer".into(), Value::Text("a b".into())),
                ("n".into(), Value::Int(-3)),
                ("share".into(), Value::Float(0.5)),
                ("nan".into(), Value::Float(f64::NAN)),
                ("empty".into(), Value::Text("".into())),
            ],
            trace_id: Some(TraceId(0xab)),
            span_id: None,
            request_id: Some("r-1".into()),
        }
    }

    #[test]
    fn a_record_as_text() {
        let mut out = String::new();
        write(&mut out, &record(), Form::Text, false);
        assert_eq!(
            out,
            "2026-11-22T22:28:36.123456Z  WARN zerver::reload: no good\n    at line 2 peer=\"a b\" n=-3 share=0.5 nan=NaN empty=\"\" \
             trace_id=000000000000000000000000000000ab request_id=r-1\n"
        );
    }

    #[test]
    fn a_record_as_json() {
        let mut out = String::new();
        write(&mut out, &record(), Form::Json, true);
        assert_eq!(
            out,
            "{\"time\":\"2026-11-22T22:28:36.123456Z\",\"level\":\"WARN\",\"scope\":\"zerver::reload\",\
             \"message\":\"no good\\nat line 2\",\"trace_id\":\"000000000000000000000000000000ab\",\"request_id\":\"r-1\",\
             \"fields\":{\"peer\":\"a b\",\"n\":-3,\"share\":0.5,\"nan\":\"NaN\",\"empty\":\"\"}}\n"
        );
    }

    #[test]
    fn every_key_of_a_json_line_is_documented() {
        let mut out = String::new();
        write(&mut out, &Record { span_id: Some(crate::id::SpanId(1)), ..record() }, Form::Json, false);
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&out).expect("it is an object");
        assert_eq!(line.len(), 8);
        let document = include_str!("../../../docs/logs.md");
        for key in line.keys() {
            assert!(document.contains(&format!("| `{key}` | ")), "`{key}` is not in the tables of docs/logs.md");
        }
    }

    proptest! {
        /// A value can neither end its line nor break its form, and JSON gives it back as it was.
        #[test]
        fn no_value_can_forge_a_line(text in any::<String>(), key in "[a-z.]{1,9}") {
            let mut record = record();
            record.attributes = vec![(key.clone().into(), Value::Text(text.as_str().into()))];
            let mut out = String::new();
            write(&mut out, &record, Form::Json, false);
            prop_assert_eq!(out.lines().count(), 1);
            let read: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
            prop_assert_eq!(read["fields"][&key].as_str(), Some(text.as_str()));
            record.body.clone_from(&text);
            out.clear();
            write(&mut out, &record, Form::Text, false);
            prop_assert!(out.lines().skip(1).all(|line| line.starts_with("    ")));
            let printable = out.chars().all(|c| c == '\n' || !c.is_control());
            prop_assert!(printable);
        }
    }
}
