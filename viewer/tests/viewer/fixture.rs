//! A gateway's day in small: four routes, one of them slow for a reason, always the same.

use std::sync::Arc;

use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::explain::{Cohort, Cohorts, Comparison, Evidence, Finding, Mark, Part, Reason, VerdictKind};
use zerver_telemetry::id::{SpanId, TraceId};
use zerver_telemetry::timeline::{Kept, Node, State, Timeline, Value};
use zerver_viewer::{Batch, Counters, Engine, Gateway};

/// 14:00:00 on a Tuesday.
pub(crate) const START_NS: u64 = 1_763_474_400_000_000_000;
const MS: f64 = 1e6;

/// Builds one timeline node by node; each node's states follow one another from its start.
struct Builder {
    nodes: Vec<Node>,
}

impl Builder {
    /// Adds a node that is ready at `start` and passes through `states` of so many milliseconds; gives its number.
    fn node(
        &mut self,
        parent: Option<NodeId>,
        after: Option<NodeId>,
        name: &str,
        kind: NodeKind,
        start: u64,
        states: &[(Cause, f64, &str)],
    ) -> NodeId {
        let id = NodeId(u16::try_from(self.nodes.len()).expect("few nodes"));
        let mut at = start;
        let states = states.iter().map(|(cause, ms, name)| {
            let from_ns = at;
            at += ns(*ms);
            State {
                from_ns,
                to_ns: at,
                cause: *cause,
                name: (!name.is_empty()).then(|| Arc::from(*name)),
                woken_by: None,
                worker: (*cause == Cause::Run).then_some(2),
                promoted: None,
                folded: false,
            }
        });
        let states: Vec<State> = states.collect();
        let end_ns = states.last().map_or(start, |s| s.to_ns);
        self.nodes.push(Node {
            span_id: zerver_telemetry::id::SpanId(0),
            id,
            parent,
            after,
            name: name.into(),
            kind,
            attempt: 1,
            occurrence: 1,
            start_ns: start,
            end_ns,
            outcome: Outcome::Ok,
            status: 0,
            error: None,
            states,
            attrs: Vec::new(),
        });
        id
    }

    fn end(&self, id: NodeId) -> u64 {
        self.nodes[usize::from(id.0)].end_ns
    }

    fn at(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[usize::from(id.0)]
    }

    fn attr(&mut self, id: NodeId, key: &str, value: Value) {
        self.at(id).attrs.push((key.into(), value));
    }

    /// Says whose end woke a node after its waiting in state `place`.
    fn woken(&mut self, id: NodeId, place: usize, by: NodeId) {
        self.at(id).states[place + 1].woken_by = Some(by);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive numbers")]
fn ns(ms: f64) -> u64 {
    (ms * MS) as u64
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

/// A number between 0 and 1 that depends on the request alone.
fn draw(seq: u64, salt: u64) -> f64 {
    let mixed = zerver_telemetry::id::mix(seq.wrapping_mul(31).wrapping_add(salt));
    f64::from(u32::try_from(mixed >> 32).expect("32 bits")) / f64::from(u32::MAX)
}

/// Request number `seq`: mostly `checkout`; every fifth of those asks peer `b`, and waits for a permit there.
pub(crate) fn timeline(seq: u64) -> Timeline {
    let (route, slow) = match seq % 10 {
        0..5 => ("checkout", seq.is_multiple_of(5)),
        5..8 => ("search", false),
        8 => ("login", false),
        _ => ("health", false),
    };
    let mut b = Builder { nodes: Vec::new() };
    let root = b.node(None, None, "request", NodeKind::Request, 0, &[]);
    let some = |salt, ms: f64| ms * (0.6 + 0.8 * draw(seq, salt));
    let admission = b.node(Some(root), None, "admission", NodeKind::Station, 0, &[(Cause::Run, 0.1, "")]);
    let auth_at = b.end(admission);
    let auth =
        b.node(Some(root), Some(admission), "auth", NodeKind::Station, auth_at, &[(Cause::Run, some(1, 0.3), "")]);
    let ready = b.end(auth);
    let last = match route {
        "checkout" => checkout(&mut b, root, auth, ready, slow, &some),
        "search" => {
            let states = [(Cause::Worker, some(2, 0.2), ""), (Cause::Run, some(3, 2.2), "")];
            b.node(Some(root), Some(auth), "rank", NodeKind::Step, ready, &states)
        }
        "login" => b.node(Some(root), Some(auth), "argon2", NodeKind::Step, ready, &[(Cause::Run, some(4, 28.0), "")]),
        _ => b.node(Some(root), Some(auth), "reply", NodeKind::Step, ready, &[(Cause::Run, 0.1, "")]),
    };
    let failed = route == "checkout" && slow && draw(seq, 9) < 0.1;
    let (answered, status) = (b.end(last), if failed { 504 } else { 200 });
    let own = [(answered, Cause::Join), (ns(0.6), Cause::Run), (ns(some(5, 0.4)), Cause::Write)];
    let mut at = 0;
    for (len, cause) in own {
        let from_ns = at;
        at += len;
        let (name, woken_by, worker, promoted, folded) = (None, None, None, None, false);
        b.at(root).states.push(State { from_ns, to_ns: at, cause, name, woken_by, worker, promoted, folded });
    }
    b.woken(root, 0, last);
    b.at(root).end_ns = at;
    b.at(root).status = status;
    let tenant = ["acme", "globex", "initech"][usize::try_from(seq % 3).expect("small")];
    b.attr(root, "tenant", text(tenant));
    b.attr(root, "bytes", Value::Int(i64::try_from(seq % 7 * 300).expect("small")));
    if route == "checkout" {
        let state = [(Cause::Run, 0.2, ""), (Cause::Io, 6.0, "log")];
        b.node(Some(root), Some(last), "audit", NodeKind::Step, answered, &state);
    }
    let outcome = if failed { Outcome::Timeout } else { Outcome::Ok };
    b.at(root).outcome = outcome;
    Timeline {
        seq,
        trace_id: TraceId((u128::from(zerver_telemetry::id::mix(seq + 1)) << 64) | u128::from(seq + 1)),
        span_id: SpanId(seq + 1),
        parent_span_id: None,
        sampled: seq.is_multiple_of(10),
        route: route.into(),
        flow: (route == "checkout").then(|| Arc::from("checkout-flow")),
        config_version: 3,
        start_unix_ns: START_NS + seq * 41_000_000,
        latency_ns: at,
        outcome,
        status,
        error: failed.then(|| Arc::from("upstream_timeout")),
        weight: 10.0,
        kept: if slow { vec![Kept::Uniform, Kept::Slow] } else { vec![Kept::Uniform] },
        lost_events: 0,
        nodes: b.nodes,
    }
}

/// cart, then price beside stock, then render.
fn checkout(
    b: &mut Builder,
    root: NodeId,
    auth: NodeId,
    ready: u64,
    slow: bool,
    some: &dyn Fn(u64, f64) -> f64,
) -> NodeId {
    let cart = b.node(
        Some(root),
        Some(auth),
        "cart",
        NodeKind::Step,
        ready,
        &[(Cause::Run, 0.1, ""), (Cause::Io, some(10, 1.2), "redis"), (Cause::Run, 0.1, "")],
    );
    let fan = b.end(cart);
    let peer = if slow { "b" } else { "a" };
    let (queue, io) = if slow { (some(11, 92.0), some(12, 40.0)) } else { (0.1, some(12, 3.9)) };
    let price = b.node(
        Some(root),
        Some(cart),
        "price",
        NodeKind::Step,
        fan,
        &[(Cause::Permit, queue, "upstream-b"), (Cause::Run, 0.2, ""), (Cause::Join, io, ""), (Cause::Run, 0.3, "")],
    );
    let called = b.at(price).states[1].to_ns;
    let call = b.node(Some(price), None, "quotes", NodeKind::Effect, called, &[(Cause::Io, io, "quotes")]);
    b.attr(call, "peer", text(peer));
    b.attr(call, "reused", Value::Bool(true));
    b.at(call).status = 200;
    b.woken(price, 2, call);
    let stock = b.node(
        Some(root),
        Some(cart),
        "stock",
        NodeKind::Step,
        fan,
        &[(Cause::Run, 0.1, ""), (Cause::Join, some(13, 2.8), ""), (Cause::Run, 0.1, "")],
    );
    let (from, to) = (b.at(stock).states[1].from_ns, b.at(stock).states[1].to_ns);
    #[expect(clippy::cast_precision_loss, reason = "a few milliseconds")]
    let call =
        b.node(Some(stock), None, "levels", NodeKind::Effect, from, &[(Cause::Io, (to - from) as f64 / MS, "stock")]);
    b.attr(call, "peer", text("a"));
    b.woken(stock, 1, call);
    let later = if b.end(price) >= b.end(stock) { price } else { stock };
    let at = b.end(later);
    b.node(
        Some(root),
        Some(later),
        "render",
        NodeKind::Step,
        at,
        &[(Cause::Worker, 0.1, ""), (Cause::Run, some(14, 3.0), "")],
    )
}

/// The answer to one poll: `count` requests from number `from` on.
pub(crate) fn batch(from: u64, count: u64) -> Batch {
    let timelines: Vec<_> = (from..from + count).map(|seq| Arc::new(timeline(seq))).collect();
    Batch {
        v: 1,
        gateway: gateway(START_NS + (from + count) * 41_000_000),
        counters: Counters { requests: (from + count) * 10, lost_timelines: 3, lost_events: 0, in_flight: 17 },
        next: from + count,
        timelines,
    }
}

pub(crate) fn gateway(now_unix_ns: u64) -> Gateway {
    Gateway { name: "gw-1".into(), version: "0.1.0".into(), now_unix_ns }
}

/// A comparison as the real one would answer it.
pub(crate) fn engine() -> Engine {
    Engine::new(|timelines, route, cohorts| comparison(timelines, route.unwrap_or(""), cohorts))
}

/// Numbers like those of the real comparison; the ranges and the examples are the requests' own.
pub(crate) fn comparison(timelines: &[Arc<Timeline>], route: &str, cohorts: &Cohorts) -> Comparison {
    let mut by_latency: Vec<&Arc<Timeline>> = timelines.iter().collect();
    by_latency.sort_by_key(|t| t.latency_ns);
    #[expect(clippy::cast_precision_loss, reason = "a few milliseconds")]
    let ms = |place: usize| by_latency.get(place).map_or(0.0, |t| t.latency_ns as f64 / MS);
    let (count, half) = (timelines.len(), timelines.len() / 2);
    let slow = count / 12;
    let cohort = |label: &str, count, min_ms, max_ms, mean_ms: f64| Cohort {
        label: label.into(),
        count,
        weight: 10.0,
        min_ms,
        max_ms,
        mean_ms,
        median_ms: mean_ms,
    };
    let (a, b) = match cohorts {
        Cohorts::SlowVersusFast => (
            cohort("fast: p5–p50", half, ms(0), ms(half), 6.3),
            cohort("slow: above p97", slow, ms(count.saturating_sub(slow)), ms(count.saturating_sub(1)), 143.4),
        ),
        Cohorts::Latency { a, b } => (
            cohort("brushed", half, a.0, a.1.min(ms(count.saturating_sub(1))), 6.3),
            cohort("brushed", slow, b.0, b.1.min(ms(count.saturating_sub(1))), 143.4),
        ),
        Cohorts::Traces { a, b } => {
            (cohort("chosen", a.len(), 1.0, 9.0, 6.3), cohort("chosen", b.len(), 90.0, 190.0, 143.4))
        }
    };
    let part = |place: &str, attempt, cause, name: Option<&str>, a_ms: f64, b_ms: f64| Part {
        place: place.into(),
        attempt,
        cause,
        name: name.map(str::to_owned),
        a_ms,
        b_ms,
        a_median_ms: a_ms,
        b_median_ms: b_ms,
        delta_ms: b_ms - a_ms,
        share: (b_ms - a_ms) / 137.1,
        few: attempt > 1,
    };
    let example = |timeline: Option<&&Arc<Timeline>>| timeline.map(|t| t.trace_id.to_string());
    Comparison {
        route: route.into(),
        a,
        b,
        delta_ms: 137.1,
        unused: count - half - slow,
        parts: vec![
            part("price", 1, Some(Cause::Permit), Some("upstream-b"), 0.1, 92.8),
            part("price.quotes", 1, Some(Cause::Io), Some("quotes"), 3.9, 37.1),
            part("price.quotes", 2, Some(Cause::Io), Some("quotes"), 0.0, 6.0),
            part("render", 1, Some(Cause::Run), None, 0.6, 3.8),
            part("stock.levels", 1, Some(Cause::Io), Some("stock"), 1.4, 0.1),
            part("other", 1, None, None, 0.3, 3.6),
        ],
        findings: vec![
            Finding {
                share: 0.94,
                place: "price".into(),
                reasons: vec![
                    Reason { cause: Cause::Permit, name: Some("upstream-b".into()), share: 0.68 },
                    Reason { cause: Cause::Io, name: Some("quotes".into()), share: 0.26 },
                ],
                marks: vec![Mark {
                    key: "peer".into(),
                    value: "b".into(),
                    in_slow: 0.98,
                    in_rest: 0.03,
                    also: vec!["zone=2".into()],
                }],
                bound: 0.93,
                evidence: Evidence::High,
                without_ms: Some(9.2),
                example_slow: example(by_latency.last()),
                example_fast: example(by_latency.first()),
                sentence: "price waits for a permit of upstream-b (68%) and for slow answers of quotes (26%)".into(),
            },
            Finding {
                share: 0.04,
                place: "price.quotes".into(),
                reasons: vec![Reason { cause: Cause::Io, name: Some("quotes".into()), share: 0.04 }],
                marks: Vec::new(),
                bound: 0.2,
                evidence: Evidence::Medium,
                without_ms: None,
                example_slow: None,
                example_fast: None,
                sentence: "a second attempt of price.quotes appears in 11% of the slow requests, 0% of the fast".into(),
            },
            Finding {
                share: 0.02,
                place: "render".into(),
                reasons: vec![Reason { cause: Cause::Run, name: None, share: 0.02 }],
                marks: Vec::new(),
                bound: 0.0,
                evidence: Evidence::Low,
                without_ms: None,
                example_slow: None,
                example_fast: None,
                sentence: "render runs longer; no attribute explains it".into(),
            },
        ],
        verdict: "94% of the extra 137 ms is waiting at price for a permit of upstream-b; peer=b in 98% of those \
                  requests, 3% of the rest."
            .into(),
        kind: VerdictKind::Cause,
        exact: true,
        notes: vec!["3 timelines were lost by the gateway".into()],
    }
}
