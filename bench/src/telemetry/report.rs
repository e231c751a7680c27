//! The race of all ways to note the request, and what it says: per request, per record, per exported span, events against spans.

use std::error::Error;

use opentelemetry_sdk::trace::Sampler;

use crate::length::Length;
use crate::sample::Sample;
use crate::table::{Row, Table};
use crate::telemetry::contest::{self, Contender, Cost};
use crate::telemetry::fast::{self, Values};
use crate::telemetry::gateway::{Spans, Telemetry};
use crate::telemetry::receiver::Receiver;
use crate::telemetry::request::{RECORDS, SPANS};
use crate::telemetry::sdk::{self, EVENTS, Lifecycle, Sdk};

/// Runs the race and puts its rows into `table`.
pub(super) fn measure(table: &mut Table, length: Length) -> Result<(), Box<dyn Error>> {
    let rounds = if length == Length::Quick { 30 } else { 300 };
    let (as_events, as_spans) = (Receiver::start()?, Receiver::start()?);
    let dropped = Telemetry::start(Spans::Dropped)?;
    let sent = Telemetry::start(Spans::Sent(as_events.address))?;
    let waits = Telemetry::start(Spans::SentWithWaits(as_spans.address))?;
    let sdk = |sampler| Sdk::start(sampler);
    let (sampled, unsampled) = (sdk(Sampler::AlwaysOn), sdk(Sampler::AlwaysOff));
    let (below, below_unsampled) = (sdk(Sampler::AlwaysOn), sdk(Sampler::AlwaysOff));
    let (tracing, tracing_unsampled) = (below.under_tracing(), below_unsampled.under_tracing());
    let only_spans = sdk(Sampler::AlwaysOn);
    let reporter = fast::Counting::start();
    let direct = |sdk: &Sdk, requests: u64, lifecycle| (0..requests).for_each(|_| sdk.request(lifecycle));
    let mut number = 0;
    let mut known_number = 1 << 40;
    let costs = contest::run(
        rounds,
        [
            Contender::new("nothing", nothing, || ()),
            Contender::new("zerver, kept or dropped", |n| dropped.serve(n), || dropped.settle()),
            Contender::new("zerver, all sent", |n| sent.serve(n), || sent.settle()),
            Contender::new("zerver, all sent, each wait a span", |n| waits.serve(n), || waits.settle()),
            Contender::new("tracing + OpenTelemetry", |n| sdk::traced(&tracing, n), || below.settle()),
            Contender::new(
                "tracing + OpenTelemetry, unsampled",
                |n| sdk::traced(&tracing_unsampled, n),
                || below_unsampled.settle(),
            ),
            Contender::new("OpenTelemetry's SDK", |n| direct(&sampled, n, Lifecycle::Events), || sampled.settle()),
            Contender::new(
                "OpenTelemetry's SDK, unsampled",
                |n| direct(&unsampled, n, Lifecycle::Events),
                || unsampled.settle(),
            ),
            Contender::new(
                "OpenTelemetry's SDK, each event a span",
                |n| direct(&only_spans, n, Lifecycle::Spans),
                || only_spans.settle(),
            ),
            Contender::new("fastrace", |n| fast::serve(&mut number, n, Values::Formatted), fastrace::flush),
            Contender::new(
                "fastrace, texts that are known",
                |n| fast::serve(&mut known_number, n, Values::Known),
                fastrace::flush,
            ),
        ],
    )?;
    let [idle, kept, exported, each_wait, traced, traced_off, direct, direct_off, all_spans, fast, fast_known] = &costs;

    for cost in &costs {
        let name = cost.name;
        let row = Row::new(format!("{name}: per request, own path"), cost.own.clone(), "ns");
        table.add(if std::ptr::eq(cost, kept) { row.at_most(1_200.0) } else { row });
        let record = cost.own.times(1.0 / RECORDS as f64);
        table.add(Row::new(format!("{name}: per event, own path ({RECORDS} in a request)"), record, "ns"));
        table.add(Row::new(format!("{name}: per request, all threads"), cost.whole.clone(), "ns"));
        let row = Row::new(format!("{name}: allocations per request, own path"), cost.allocations, "");
        table.add(if std::ptr::eq(cost, kept) { row.at_most(0.0) } else { row });
    }
    let ratio = |table: &mut Table, one: &Cost, goal: f64| {
        let name = format!("zerver / {}, own path", one.name);
        table.add(
            Row::new(name, kept.own.over(&one.own), "x")
                .against(format!("{}, ns", one.name), one.own.median())
                .at_most(goal),
        );
    };
    ratio(table, fast, 1.0 / 5.0);
    ratio(table, direct, 1.0 / 8.0);
    ratio(table, traced, 1.0 / 25.0);
    for one in [fast, fast_known, direct, direct_off, traced, traced_off] {
        let name = format!("zerver / {}, all threads", one.name);
        let row = Row::new(name, kept.whole.over(&one.whole), "x");
        table.add(row.against(format!("{}, ns", one.name), one.whole.median()));
    }
    let name = "zerver with all sent / OpenTelemetry's SDK that only counts, all threads";
    table.add(Row::new(name, exported.whole.over(&direct.whole), "x"));
    let name = "what zerver adds to nothing: all threads";
    table.add(Row::new(name, kept.whole.with(&idle.whole, |a, b| a - b), "ns"));

    per_span(table, kept, exported);
    events_or_spans(table, [exported, each_wait], [&as_events, &as_spans], [&sent, &waits]);
    let name = "OpenTelemetry's SDK, each event a span / as events";
    table.add(Row::new(format!("{name}, own path"), all_spans.own.over(&direct.own), "x"));
    table.add(Row::new(format!("{name}, all threads"), all_spans.whole.over(&direct.whole), "x"));

    // What was offered is known of the one; of the other it depends on how long its waits were.
    let not_sent = |telemetry: &Telemetry| {
        let spans = telemetry.spans();
        spans.offered - spans.sent + telemetry.recorder.counters().lost_timelines
    };
    let not_offered = (SPANS * exported.requests).abs_diff(sent.spans().offered);
    let with_events = SPANS + EVENTS;
    let lost = [
        ("zerver", not_offered + not_sent(&sent) + not_sent(&waits)),
        ("tracing", SPANS * traced.requests - below.spans() + below_unsampled.spans()),
        (
            "OpenTelemetry's SDK",
            SPANS * direct.requests + with_events * all_spans.requests - sampled.spans() - only_spans.spans(),
        ),
        ("fastrace", SPANS * (fast.requests + fast_known.requests) - reporter.spans()),
    ];
    for (name, lost) in lost {
        table.add(Row::new(format!("{name}: spans lost meanwhile"), lost as f64, "").at_most(0.0));
    }
    Ok(())
}

/// What a span costs from the timeline to the receiver's socket.
fn per_span(table: &mut Table, kept: &Cost, exported: &Cost) {
    let of = |sample: &Sample| sample.times(1.0 / SPANS as f64);
    let made = exported.collector.with(&kept.collector, |a, b| a - b);
    let both = made.with(&exported.exporter, |a, b| a + b);
    table.add(Row::new("export: CPU per span, made on the collector's thread", of(&made), "ns"));
    table.add(Row::new(
        "export: CPU per span, encoded and sent on the exporter's thread",
        of(&exported.exporter),
        "ns",
    ));
    table.add(Row::new("export: CPU per span", of(&both), "ns").at_most(1_000.0));
}

/// What it saves that a wait is an event on a span, as long as it is short.
fn events_or_spans(table: &mut Table, costs: [&Cost; 2], receivers: [&Receiver; 2], gateways: [&Telemetry; 2]) {
    let names = ["waits as events", "each wait a span"];
    for place in 0..2 {
        let (name, cost, requests) = (names[place], costs[place], costs[place].requests as f64);
        let spans = gateways[place].spans().sent as f64 / requests;
        table.add(Row::new(format!("events over spans, {name}: spans per request"), spans, ""));
        let bytes = receivers[place].bytes() as f64 / requests;
        table.add(Row::new(format!("events over spans, {name}: bytes sent per request"), bytes, "B"));
        let whole = cost.whole.clone();
        table.add(Row::new(format!("events over spans, {name}: per request, all threads"), whole, "ns"));
    }
    let [events, spans] = costs;
    let ratio =
        Row::new("events over spans: CPU with each wait a span / as events", spans.whole.over(&events.whole), "x");
    table.add(ratio.against("as events, ns", events.whole.median()));
    let [events, spans] = receivers.map(|receiver| receiver.bytes() as f64);
    table.add(Row::new("events over spans: bytes sent with each wait a span / as events", spans / events, "x"));
}

/// The loop that all of them stand in.
fn nothing(requests: u64) {
    for _ in 0..requests {
        (0..RECORDS).for_each(|n| {
            std::hint::black_box(n);
        });
    }
}
