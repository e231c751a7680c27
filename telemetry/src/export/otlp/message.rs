//! Batches as OTLP's protobuf messages: one resource, one scope, and the items.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::BytesMut;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::export::otlp::protobuf;
use crate::export::settings::ItemLimits;
use crate::logs::{Entry, Record};
use crate::semconv;
use crate::timeline::Value as Noted;

/// What all messages of an exporter have in common.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Who sends.
    pub(crate) resource: Resource,
    /// How much an item may carry.
    pub(crate) limits: ItemLimits,
}

/// Who sends.
pub(crate) fn resource(attributes: BTreeMap<String, String>) -> Resource {
    let attributes = attributes.into_iter().map(|(key, value)| attribute(&key, Value::StringValue(value))).collect();
    Resource { attributes, ..Resource::default() }
}

/// One attribute.
pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Spans, as the encoder wrote them; all of ours are of one scope.
pub(crate) fn spans(batch: Vec<Box<[u8]>>, frame: &Frame, out: &mut BytesMut) {
    let scope = scope();
    let scope_len = protobuf::field_len(scope.encoded_len());
    let spans_len: usize = batch.iter().map(|spans| spans.len()).sum();
    let scope_spans_len = scope_len + spans_len;
    let resource_len = protobuf::field_len(frame.resource.encoded_len());
    let resource_spans_len = resource_len + protobuf::field_len(scope_spans_len);
    out.reserve(protobuf::field_len(resource_spans_len));
    // `ExportTraceServiceRequest.resource_spans`, `ResourceSpans.resource` and `.scope_spans`, `ScopeSpans.scope`.
    protobuf::head(out, 1, resource_spans_len);
    protobuf::message(out, 1, &frame.resource);
    protobuf::head(out, 2, scope_spans_len);
    protobuf::message(out, 1, &scope);
    batch.iter().for_each(|spans| out.extend_from_slice(spans));
}

/// Metrics with their data points.
pub(crate) fn metrics(batch: Vec<Vec<Metric>>, frame: &Frame, out: &mut BytesMut) {
    let metrics = batch.into_iter().flatten().collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let resource = Some(frame.resource.clone());
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    append(out, &ExportMetricsServiceRequest { resource_metrics });
}

/// What was logged, in its order but for that the records of one scope stand together.
pub(crate) fn logs(batch: Vec<Entry>, frame: &Frame, out: &mut BytesMut) {
    let limits = &frame.limits;
    let mut scopes: BTreeMap<Cow<'static, str>, Vec<LogRecord>> = BTreeMap::new();
    for record in batch.iter().flat_map(Entry::records) {
        let (scope, mut record) = log_record(record);
        record.dropped_attributes_count +=
            cut_attributes(&mut record.attributes, limits.attributes, limits.value_chars);
        scopes.entry(scope).or_default().push(record);
    }
    let of_one = |(name, log_records): (Cow<'static, str>, Vec<LogRecord>)| {
        let scope = Some(InstrumentationScope { name: name.into_owned(), ..scope() });
        ScopeLogs { scope, log_records, ..ScopeLogs::default() }
    };
    let scope_logs = scopes.into_iter().map(of_one).collect();
    let resource = Some(frame.resource.clone());
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
    append(out, &ExportLogsServiceRequest { resource_logs });
}

fn append(out: &mut BytesMut, message: &impl Message) {
    out.reserve(message.encoded_len());
    message.encode_raw(out);
}

/// A record in the log data model, and its scope.
fn log_record(record: Record) -> (Cow<'static, str>, LogRecord) {
    let text = |text: String| AnyValue { value: Some(Value::StringValue(text)) };
    let value = |value: Noted| match value {
        Noted::Int(value) => Value::IntValue(value),
        Noted::Float(value) => Value::DoubleValue(value),
        Noted::Bool(value) => Value::BoolValue(value),
        Noted::Text(value) => Value::StringValue(value.to_string()),
    };
    // A list of one: headers may stand several times.
    let list = |noted| Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value(noted)) }] });
    let named = |(key, noted): (Cow<'_, str>, Noted)| match key.strip_prefix(semconv::HTTP_REQUEST_HEADER) {
        Some(header) if header.starts_with('.') => attribute(&key, list(noted)),
        _ => attribute(&key, value(noted)),
    };
    let mut attributes: Vec<KeyValue> = record.attributes.into_iter().map(named).collect();
    attributes.extend(record.request_id.map(|id| attribute("zerver.request.id", Value::StringValue(id))));
    let sent = LogRecord {
        time_unix_nano: record.unix_ns,
        observed_time_unix_nano: record.unix_ns,
        severity_number: i32::from(record.severity.number()),
        severity_text: record.severity.as_str().to_owned(),
        body: Some(text(record.body)),
        attributes,
        trace_id: record.trace_id.map(|id| id.0.to_be_bytes().to_vec()).unwrap_or_default(),
        span_id: record.span_id.map(|id| id.0.to_be_bytes().to_vec()).unwrap_or_default(),
        ..LogRecord::default()
    };
    (record.scope, sent)
}

/// The first ones stay, their texts shortened; gives how many went.
fn cut_attributes(attributes: &mut Vec<KeyValue>, most: usize, chars: Option<usize>) -> u32 {
    let gone = attributes.len().saturating_sub(most);
    attributes.truncate(most);
    if let Some(chars) = chars {
        attributes.iter_mut().flat_map(|attribute| &mut attribute.value).for_each(|value| cut_text(value, chars));
    }
    u32::try_from(gone).unwrap_or(u32::MAX)
}

/// A text at most so long, and each of a list.
fn cut_text(value: &mut AnyValue, chars: usize) {
    match &mut value.value {
        Some(Value::StringValue(text)) => {
            if let Some((end, _)) = text.char_indices().nth(chars) {
                text.truncate(end);
            }
        }
        Some(Value::ArrayValue(list)) => list.values.iter_mut().for_each(|value| cut_text(value, chars)),
        _ => {}
    }
}

fn scope() -> InstrumentationScope {
    let scope = crate::span::scope();
    let version = scope.version().unwrap_or_default().to_owned();
    InstrumentationScope { name: scope.name().to_owned(), version, ..InstrumentationScope::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SpanId, TraceId};
    use crate::logs::Severity;

    fn frame() -> Frame {
        let resource = resource(BTreeMap::from([("service.name".into(), "edge".into())]));
        Frame { resource, limits: ItemLimits::default() }
    }

    #[test]
    fn texts_are_cut_by_their_characters_and_what_goes_is_counted() {
        let text = |text: &str| Value::StringValue(text.into());
        let array = |said: &str| Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(text(said)) }] });
        let whole =
            [attribute("k", text("äöüß")), attribute("n", Value::IntValue(12_345)), attribute("l", array("äöüß"))];
        let cut = [attribute("k", text("äöü")), attribute("n", Value::IntValue(12_345)), attribute("l", array("äöü"))];
        for (most, gone) in [(9, 0), (2, 1), (0, 3)] {
            let mut list = whole.to_vec();
            assert_eq!(cut_attributes(&mut list, most, Some(3)), gone);
            assert_eq!(list, cut[..3 - gone as usize]);
        }
    }

    #[test]
    fn log_records_and_metrics_have_the_same_frame() {
        let record = |scope: &'static str, body: &str| Record {
            unix_ns: 7,
            severity: Severity::Warn,
            scope: scope.into(),
            body: body.into(),
            attributes: vec![
                ("n".into(), Noted::Int(3)),
                ("http.request.header.x-tier".into(), Noted::Text("gold".into())),
            ],
            trace_id: Some(TraceId(1)),
            span_id: Some(SpanId(2)),
            request_id: Some("r".into()),
        };
        let batch =
            [("b", "1"), ("a", "2"), ("b", "3")].map(|(scope, body)| Entry::Record(Box::new(record(scope, body))));
        let mut message = BytesMut::new();
        logs(batch.into(), &frame(), &mut message);
        let read = ExportLogsServiceRequest::decode(&*message).expect("it is a message");
        let scopes = &read.resource_logs[0].scope_logs;
        let names: Vec<&str> = scopes.iter().flat_map(|one| &one.scope).map(|scope| &*scope.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(scopes.iter().map(|one| one.log_records.len()).collect::<Vec<_>>(), [1, 2]);
        let first = &scopes[0].log_records[0];
        assert_eq!((first.time_unix_nano, first.severity_number, &*first.severity_text), (7, 13, "WARN"));
        assert_eq!((first.trace_id[15], first.span_id[7], first.attributes.len()), (1, 2, 3));
        let gold = AnyValue { value: Some(Value::StringValue("gold".into())) };
        let tier = Value::ArrayValue(ArrayValue { values: vec![gold] });
        assert_eq!(first.attributes[1], attribute("http.request.header.x-tier", tier));
        assert_eq!(first.body, Some(AnyValue { value: Some(Value::StringValue("2".into())) }));
        let metric = Metric { name: "m".into(), ..Metric::default() };
        let mut message = BytesMut::new();
        metrics(vec![vec![metric.clone()], vec![metric.clone()]], &frame(), &mut message);
        let read = ExportMetricsServiceRequest::decode(&*message).expect("it is a message");
        assert_eq!(read.resource_metrics[0].scope_metrics[0].metrics, [metric.clone(), metric]);
    }
}
