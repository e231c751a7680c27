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

/// Log records, each with who said it, in their order but for that those of one scope stand together.
pub(crate) fn logs(batch: Vec<(Cow<'static, str>, LogRecord)>, frame: &Frame) -> Vec<u8> {
    let limits = &frame.limits;
    let mut scopes: BTreeMap<Cow<'static, str>, Vec<LogRecord>> = BTreeMap::new();
    for (scope, mut record) in batch {
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
    use super::*;
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
        let record = |text: &str| LogRecord { severity_text: text.into(), ..LogRecord::default() };
        let batch = [("b", "1"), ("a", "2"), ("b", "3")].map(|(scope, text)| (scope.into(), record(text)));
        let read = ExportLogsServiceRequest::decode(&*logs(batch.into(), &frame())).expect("it is a message");
        let scopes = &read.resource_logs[0].scope_logs;
        let names: Vec<&str> = scopes.iter().flat_map(|one| &one.scope).map(|scope| &*scope.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            (&*scopes[0].log_records, &*scopes[1].log_records),
            (&[record("2")][..], &[record("1"), record("3")][..])
        );
        let metric = Metric { name: "m".into(), ..Metric::default() };
        let message = metrics(vec![metric.clone()], &frame());
        let read = ExportMetricsServiceRequest::decode(&*message).expect("it is a message");
        assert_eq!(read.resource_metrics[0].scope_metrics[0].metrics, [metric]);
    }
}
