//! Batches as OTLP's protobuf messages: one resource, one scope, and the items.

use std::borrow::Cow;
use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use opentelemetry_sdk::trace::SpanData;
use prost::Message;

use crate::export::settings::ItemLimits;
use crate::logs::{Entry, Record};
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

/// Spans; all of ours are of one scope.
pub(crate) fn spans(batch: Vec<SpanData>, frame: &Frame) -> Vec<u8> {
    let resource = &frame.resource;
    let spans = batch.into_iter().map(|span| cut(span.into(), &frame.limits)).collect();
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource.clone()), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Metrics with their data points.
pub(crate) fn metrics(metrics: Vec<Metric>, frame: &Frame) -> Vec<u8> {
    let resource = &frame.resource;
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource.clone()), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// What was logged, in its order but for that the records of one scope stand together.
pub(crate) fn logs(batch: Vec<Entry>, frame: &Frame) -> Vec<u8> {
    let limits = &frame.limits;
    let mut scopes: BTreeMap<Cow<'static, str>, Vec<LogRecord>> = BTreeMap::new();
    for record in batch.iter().flat_map(Entry::records) {
        let (scope, mut record) = log_record(record);
        record.dropped_attributes_count +=
            cut_attributes(&mut record.attributes, limits.attributes, limits.value_chars);
        scopes.entry(scope).or_default().push(record);
    }
    let of_one = |(name, log_records): (Cow<'static, str>, Vec<LogRecord>)| {
        let scope = scope().map(|scope| InstrumentationScope { name: name.into_owned(), ..scope });
        ScopeLogs { scope, log_records, ..ScopeLogs::default() }
    };
    let scope_logs = scopes.into_iter().map(of_one).collect();
    let resource = Some(frame.resource.clone());
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
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
    let mut attributes: Vec<KeyValue> =
        record.attributes.into_iter().map(|(key, noted)| attribute(&key, value(noted))).collect();
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

fn cut(mut span: Span, limits: &ItemLimits) -> Span {
    span.dropped_attributes_count += cut_attributes(&mut span.attributes, limits.attributes, limits.value_chars);
    span.dropped_events_count += cut_list(&mut span.events, limits.events);
    for event in &mut span.events {
        let most = limits.event_attributes;
        event.dropped_attributes_count += cut_attributes(&mut event.attributes, most, limits.value_chars);
    }
    span
}

/// The first ones stay, their texts shortened; gives how many went.
fn cut_attributes(attributes: &mut Vec<KeyValue>, most: usize, chars: Option<usize>) -> u32 {
    let gone = cut_list(attributes, most);
    let Some(chars) = chars else { return gone };
    for attribute in attributes {
        if let Some(AnyValue { value: Some(Value::StringValue(text)) }) = &mut attribute.value
            && let Some((end, _)) = text.char_indices().nth(chars)
        {
            text.truncate(end);
        }
    }
    gone
}

fn cut_list<T>(list: &mut Vec<T>, most: usize) -> u32 {
    let gone = list.len().saturating_sub(most);
    list.truncate(most);
    u32::try_from(gone).unwrap_or(u32::MAX)
}

fn scope() -> Option<InstrumentationScope> {
    let scope = crate::span::scope();
    let version = scope.version().unwrap_or_default().to_owned();
    Some(InstrumentationScope { name: scope.name().to_owned(), version, ..InstrumentationScope::default() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use opentelemetry_http::{HttpClient, HttpError};
    use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
    use opentelemetry_sdk::trace::SpanExporter as _;
    use parking_lot::Mutex;

    use super::*;
    use crate::id::{SpanId, TraceId};
    use crate::logs::Severity;
    use crate::sampling::Reason;
    use crate::span::SpanSettings;

    fn frame() -> Frame {
        let resource = resource(BTreeMap::from([("service.name".into(), "edge".into())]));
        Frame { resource, limits: ItemLimits::default() }
    }

    fn batch() -> Vec<SpanData> {
        crate::span::spans(&crate::timeline::sample(), Reason::Sampled, &SpanSettings::default())
    }

    fn read(message: &[u8]) -> Vec<Span> {
        let read = ExportTraceServiceRequest::decode(message).expect("it is a message");
        read.resource_spans[0].scope_spans[0].spans.clone()
    }

    #[test]
    fn a_batch_reads_back_as_it_was() {
        let message = spans(batch(), &frame());
        let whole = ExportTraceServiceRequest::decode(&*message).expect("it is a message");
        let first = &whole.resource_spans[0];
        assert_eq!(first.resource, Some(frame().resource));
        assert_eq!(first.scope_spans[0].scope.as_ref().map(|scope| &*scope.name), Some("zerver"));
        let expected: Vec<Span> = batch().into_iter().map(Into::into).collect();
        assert_eq!(read(&message), expected);
    }

    /// Keeps what it is to send.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Bytes>>);

    #[async_trait::async_trait]
    impl HttpClient for Kept {
        async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
            *self.0.lock() = request.into_body();
            Ok(http::Response::default())
        }
    }

    #[test]
    fn a_batch_is_what_the_official_exporter_sends() {
        let kept = Kept::default();
        let mut official = SpanExporter::builder().with_http().with_http_client(kept.clone()).build().unwrap();
        let service = opentelemetry::KeyValue::new("service.name", "edge");
        official.set_resource(&opentelemetry_sdk::Resource::builder_empty().with_attribute(service).build());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(official.export(batch())).unwrap();
        let decode = |bytes: &[u8]| ExportTraceServiceRequest::decode(bytes).expect("it is a message");
        assert_eq!(decode(&kept.0.lock()), decode(&spans(batch(), &frame())));
    }

    #[test]
    fn what_is_cut_is_counted() {
        let limits = ItemLimits { attributes: 2, value_chars: Some(3), events: 1, event_attributes: 1 };
        let before: Vec<Span> = batch().into_iter().map(Into::into).collect();
        for (cut, whole) in read(&spans(batch(), &Frame { limits, ..frame() })).iter().zip(&before) {
            assert_eq!(cut.attributes.len() + cut.dropped_attributes_count as usize, whole.attributes.len());
            assert_eq!(cut.events.len() + cut.dropped_events_count as usize, whole.events.len());
            assert!(cut.attributes.len() <= 2 && cut.events.len() <= 1);
        }
        let mut list = vec![attribute("k", Value::StringValue("äöüß".into())), attribute("n", Value::IntValue(12_345))];
        assert_eq!(cut_attributes(&mut list, 9, Some(3)), 0);
        assert_eq!(list, [attribute("k", Value::StringValue("äöü".into())), attribute("n", Value::IntValue(12_345))]);
    }

    #[test]
    fn log_records_and_metrics_have_the_same_frame() {
        let record = |scope: &'static str, body: &str| Record {
            unix_ns: 7,
            severity: Severity::Warn,
            scope: scope.into(),
            body: body.into(),
            attributes: vec![("n".into(), Noted::Int(3))],
            trace_id: Some(TraceId(1)),
            span_id: Some(SpanId(2)),
            request_id: Some("r".into()),
        };
        let batch =
            [("b", "1"), ("a", "2"), ("b", "3")].map(|(scope, body)| Entry::Record(Box::new(record(scope, body))));
        let read = ExportLogsServiceRequest::decode(&*logs(batch.into(), &frame())).expect("it is a message");
        let scopes = &read.resource_logs[0].scope_logs;
        let names: Vec<&str> = scopes.iter().flat_map(|one| &one.scope).map(|scope| &*scope.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(scopes.iter().map(|one| one.log_records.len()).collect::<Vec<_>>(), [1, 2]);
        let first = &scopes[0].log_records[0];
        assert_eq!((first.time_unix_nano, first.severity_number, &*first.severity_text), (7, 13, "WARN"));
        assert_eq!((first.trace_id[15], first.span_id[7], first.attributes.len()), (1, 2, 2));
        assert_eq!(first.body, Some(AnyValue { value: Some(Value::StringValue("2".into())) }));
        let metric = Metric { name: "m".into(), ..Metric::default() };
        let message = metrics(vec![metric.clone()], &frame());
        let read = ExportMetricsServiceRequest::decode(&*message).expect("it is a message");
        assert_eq!(read.resource_metrics[0].scope_metrics[0].metrics, [metric]);
    }
}
