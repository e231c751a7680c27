//! Makes timelines of a ten-node flow with log-normal times, many attributes, and one known fault.

use std::sync::Arc;

use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::id::{SpanId, TraceId, mix};
use zerver_telemetry::timeline::{Node, State, Timeline, Value};

/// A small generator of numbers: a counter through a mixer. The seed fixes everything.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5851_f42d_4c95_7f2d))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in `0..1`.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Standard normal (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform().max(1e-12), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }
}

/// What is wrong in a set of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    SlowPeer,
    PermitOfPeer,
    LoadBurst,
    HotWorker,
    CpuByBody,
    Retry,
    CacheMiss,
    RateLimit,
    SlowRegion,
    ColdConnection,
    PeriodicStall,
    SlowClient,
    BigResponse,
    NewVersion,
    Branch,
    DetachedDecoy,
    CorrelatedDecoy,
    RaceDecoy,
    TenantAndPeer,
    TwoCauses,
    DelayOfTenant,
    LockOnKey,
    Timeout,
    Chatty,
    Nothing,
    Uniform,
}

impl Fault {
    /// Those with a cause to be found.
    pub(crate) const CAUSES: [Self; 24] = [
        Self::SlowPeer,
        Self::PermitOfPeer,
        Self::LoadBurst,
        Self::HotWorker,
        Self::CpuByBody,
        Self::Retry,
        Self::CacheMiss,
        Self::RateLimit,
        Self::SlowRegion,
        Self::ColdConnection,
        Self::PeriodicStall,
        Self::SlowClient,
        Self::BigResponse,
        Self::NewVersion,
        Self::Branch,
        Self::DetachedDecoy,
        Self::CorrelatedDecoy,
        Self::RaceDecoy,
        Self::TenantAndPeer,
        Self::TwoCauses,
        Self::DelayOfTenant,
        Self::LockOnKey,
        Self::Timeout,
        Self::Chatty,
    ];
}

/// One set of requests to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) fault: Fault,
    /// The share of the requests that it touches.
    pub(crate) prevalence: f64,
    /// The extra time of a touched request.
    pub(crate) extra_ms: f64,
    /// The share of the touched requests that really suffer; the others only look as if they would.
    pub(crate) suffering: f64,
    pub(crate) requests: usize,
    pub(crate) seed: u64,
}

/// The window all requests arrive in.
const WINDOW_NS: u64 = 600_000_000_000;
const STARTED_UNIX_NS: u64 = 1_790_000_000_000_000_000;

/// The attributes of one request, and the extra times that the fault puts on it.
struct Request {
    random: Random,
    scene: Scene,
    touched: bool,
    /// All times are multiplied by it.
    factor: f64,
    arrival: f64,
    tenant: u64,
    region: u64,
    version: u64,
    client: u64,
    peer: u64,
    zone: u64,
    worker: u16,
    miss: bool,
    cold: bool,
    body: f64,
    items: i64,
    amount: f64,
    key: u64,
    nodes: Vec<Node>,
}

/// Times of one step: milliseconds.
#[derive(Clone, Copy, Default)]
struct Times {
    queue: f64,
    run: f64,
    rate: f64,
    lock: f64,
    timer: f64,
}

/// One call of a step.
#[derive(Clone, Copy)]
struct Call {
    name: &'static str,
    permit: f64,
    io: f64,
    attempt: u16,
    occurrence: u16,
    outcome: Outcome,
    status: u16,
}

impl Call {
    fn to(name: &'static str, permit: f64, io: f64) -> Self {
        Self { name, permit, io, attempt: 1, occurrence: 1, outcome: Outcome::Ok, status: 200 }
    }
}

/// All requests of a scene.
pub(crate) fn timelines(scene: Scene) -> Vec<Arc<Timeline>> {
    (0..scene.requests).map(|n| Arc::new(Request::draw(scene, n).timeline(n))).collect()
}

/// The same requests as a plain proxy route sees them: one call, and the request around it.
pub(crate) fn proxied(scene: Scene) -> Vec<Arc<Timeline>> {
    let one = |n: usize| {
        let mut request = Request::draw(scene, n);
        request.open(None, None, "request", NodeKind::Request, 0);
        let (queue, run) = (request.queue(), request.time(0.2, 0.3));
        request.state(0, ns(queue), Cause::Worker, None, None);
        request.state(0, ns(run), Cause::Run, None, None);
        let io = request.time(6.0, 0.35) + request.extra(&[Fault::SlowPeer]);
        let permit = request.time(0.05, 0.5);
        let from = request.nodes[0].end_ns;
        let call = request.call(0, None, from, Call::to("quotes", permit, io));
        let end = request.nodes[call].end_ns;
        request.state(0, end - from, Cause::Join, None, None);
        let queue = request.queue();
        request.state(0, ns(queue), Cause::Worker, None, Some(call));
        let write = request.time(0.3, 0.4) + request.extra(&[Fault::SlowClient]);
        request.state(0, ns(write), Cause::Write, None, None);
        let latency = request.nodes[0].end_ns;
        Arc::new(request.finish(n, latency))
    };
    (0..scene.requests).map(one).collect()
}

fn ns(ms: f64) -> u64 {
    (ms * 1e6).max(0.0) as u64
}

fn text(value: String) -> Value {
    Value::Text(value.into())
}

impl Request {
    fn draw(scene: Scene, n: usize) -> Self {
        let mut r = Random::new(mix(scene.seed) ^ mix(n as u64 + 1));
        let share = scene.prevalence;
        // The value that the fault is about is as frequent as the fault; the rest is skewed.
        let special = |r: &mut Random, others: u64| {
            if r.chance(share) { 0 } else { 1 + (r.uniform() * r.uniform() * others as f64) as u64 }
        };
        let tenant = special(&mut r, 40);
        let region = special(&mut r, 4);
        let version = special(&mut r, 3);
        let client = special(&mut r, 6);
        let mut peer = special(&mut r, 3);
        let worker = special(&mut r, 7) as u16;
        let key = special(&mut r, 60);
        let miss = if scene.fault == Fault::CacheMiss { r.chance(share) } else { r.chance(0.12) };
        let cold = if scene.fault == Fault::ColdConnection { r.chance(share) } else { r.chance(0.1) };
        let (body_rank, item_rank, amount_rank) = (r.uniform(), r.uniform(), r.uniform());
        let arrival = r.uniform();
        let mut tenant = tenant;
        if scene.fault == Fault::TenantAndPeer {
            // Each alone is frequent; only both together are slow.
            tenant = if r.chance(share.sqrt()) { 0 } else { 1 + r.below(40) };
            peer = if r.chance(share.sqrt()) { 0 } else { 1 + r.below(3) };
        }
        let zone = if r.chance(0.9) { peer } else { r.below(4) };
        let touched = match scene.fault {
            Fault::SlowPeer | Fault::PermitOfPeer | Fault::CorrelatedDecoy | Fault::DetachedDecoy => peer == 0,
            Fault::LoadBurst => (0.6..0.6 + share).contains(&arrival),
            // Twelve stalls, evenly spaced.
            Fault::PeriodicStall => (arrival * 12.0).fract() < share,
            Fault::HotWorker => worker == 0,
            Fault::CpuByBody => body_rank > 1.0 - share,
            Fault::BigResponse | Fault::Chatty => item_rank > 1.0 - share,
            Fault::Branch => amount_rank > 1.0 - share,
            Fault::Retry | Fault::Timeout | Fault::Uniform => r.chance(share),
            Fault::CacheMiss => miss,
            Fault::RateLimit | Fault::DelayOfTenant => tenant == 0,
            Fault::SlowRegion | Fault::RaceDecoy => region == 0,
            Fault::ColdConnection => cold,
            Fault::SlowClient => client == 0,
            Fault::NewVersion => version == 0,
            Fault::TenantAndPeer => tenant == 0 && peer == 0,
            Fault::TwoCauses => peer == 0,
            Fault::LockOnKey => key == 0,
            Fault::Nothing => false,
        };
        let touched = touched && r.chance(scene.suffering);
        let factor = if scene.fault == Fault::Uniform && touched { 1.0 + scene.extra_ms / 18.0 } else { 1.0 };
        Self {
            scene,
            touched,
            factor,
            arrival,
            tenant,
            region,
            version,
            client,
            peer,
            zone,
            worker,
            miss,
            cold,
            // Monotone in the rank, so that "the largest tenth" is a threshold.
            body: 2_000.0 * (1.0 / (1.0 - body_rank + 1e-4)).powf(0.7),
            items: 1 + (item_rank.powi(3) * 40.0) as i64,
            amount: 500.0 * amount_rank,
            key,
            random: r,
            nodes: Vec::new(),
        }
    }

    /// A drawn time in milliseconds.
    fn time(&mut self, median: f64, sigma: f64) -> f64 {
        self.random.log_normal(median, sigma) * self.factor
    }

    /// The extra time of a touched request (15 % around its mean), when the fault is one of these.
    fn extra(&mut self, faults: &[Fault]) -> f64 {
        if self.touched && faults.contains(&self.scene.fault) {
            self.scene.extra_ms * (1.0 + 0.15 * self.random.normal()).max(0.3)
        } else {
            0.0
        }
    }

    /// What waits for a worker: at each of the seven steps a part of a burst or of a hot worker.
    fn queue(&mut self) -> f64 {
        let natural = self.time(0.08, 0.6);
        let spread = self.extra(&[Fault::LoadBurst, Fault::HotWorker]) * 2.0 * self.random.uniform();
        natural + spread / 5.0
    }

    fn timeline(mut self, n: usize) -> Timeline {
        self.open(None, None, "request", NodeKind::Request, 0);
        let accept = ns(self.time(0.3, 0.3));
        self.state(0, accept, Cause::Run, None, None);
        // Station: the rate limit.
        let rate = self.extra(&[Fault::RateLimit]);
        let (limit, at) = self.step("limit", None, accept, Times { run: 0.02, rate, ..Times::default() }, &[]);
        // Step: auth, which asks the identity provider when its cache does not know.
        let (queue, run) = (self.queue(), self.time(0.4, 0.3));
        let idp = if self.miss {
            vec![Call::to("idp", 0.0, self.time(1.5, 0.4) + self.extra(&[Fault::CacheMiss]))]
        } else {
            vec![]
        };
        let (auth, at) = self.step("auth", Some(limit), at, Times { queue, run, ..Times::default() }, &idp);
        let cache = if self.miss { "miss" } else { "hit" };
        self.nodes[auth].attrs.push(("cache".into(), text(cache.into())));
        // Three at once.
        let price = self.price(auth, at);
        let stock = self.stock(auth, at);
        let reco = self.reco(auth, at);
        let (joined, began) = [price, stock, reco].into_iter().max_by_key(|(_, end)| *end).unwrap();
        let (mut after, mut at) = (joined, began);
        // A check that only large amounts need.
        let limit = if self.scene.fault == Fault::Branch { 500.0 * (1.0 - self.scene.prevalence) } else { 480.0 };
        if self.amount > limit {
            let (queue, run) = (self.queue(), self.time(0.3, 0.3));
            let score = Call::to("score", 0.0, self.time(2.0, 0.3) + self.extra(&[Fault::Branch]));
            (after, at) = self.step("fraud", Some(after), at, Times { queue, run, ..Times::default() }, &[score]);
        }
        let queue = self.queue();
        let run = self.time(1.2, 0.35) + self.extra(&[Fault::CpuByBody, Fault::BigResponse]);
        // The second of two causes: as frequent, and two thirds as long.
        let second = self.scene.fault == Fault::TwoCauses && self.version == 0;
        let run = run + if second { self.scene.extra_ms * 0.67 } else { 0.0 };
        let timer = self.extra(&[Fault::DelayOfTenant]);
        let (render, end) = self.step("render", Some(after), at, Times { queue, run, timer, ..Times::default() }, &[]);
        // The request waits for all of it, then writes.
        self.state(0, end - accept, Cause::Join, None, None);
        let queued = ns(self.queue());
        self.state(0, queued, Cause::Worker, None, Some(render));
        let write = ns(self.time(0.6, 0.4) + self.extra(&[Fault::SlowClient]));
        self.state(0, write, Cause::Write, None, None);
        let latency = self.nodes[0].end_ns;
        // Detached: its time is nobody's.
        let slow = if self.scene.fault == Fault::DetachedDecoy && self.tenant < 4 { 60.0 } else { 0.0 };
        let audit = self.time(3.0, 0.5) + slow;
        self.step("audit", Some(joined), began, Times::default(), &[Call::to("log", 0.0, audit)]);
        self.finish(n, latency)
    }

    fn price(&mut self, after: usize, at: u64) -> (usize, u64) {
        let queue = self.queue() + self.extra(&[Fault::PeriodicStall]);
        let run = self.time(0.7, 0.3) + self.extra(&[Fault::NewVersion]);
        let lock = self.extra(&[Fault::LockOnKey]);
        let permit = self.time(0.15, 0.8) + self.extra(&[Fault::PermitOfPeer]);
        let mut io = self.time(6.0, 0.35);
        io += self.extra(&[Fault::SlowPeer, Fault::DetachedDecoy, Fault::CorrelatedDecoy, Fault::ColdConnection]);
        io += self.extra(&[Fault::TenantAndPeer, Fault::TwoCauses]);
        let mut calls = vec![Call::to("quotes", permit, io)];
        let mut timer = 0.0;
        if self.touched && self.scene.fault == Fault::Retry {
            // The first answer is a quick 503; most of the extra time is the delay before the second try.
            calls[0] = Call { outcome: Outcome::Error, status: 503, io: self.time(0.8, 0.3), ..calls[0] };
            calls.push(Call { attempt: 2, outcome: Outcome::Ok, status: 200, ..Call::to("quotes", permit, io) });
            timer = self.extra(&[Fault::Retry]);
        }
        if self.touched && self.scene.fault == Fault::Timeout {
            calls[0] =
                Call { outcome: Outcome::Timeout, status: 0, io: 12.0 + self.extra(&[Fault::Timeout]), ..calls[0] };
        }
        self.step("price", Some(after), at, Times { queue, run, lock, timer, ..Times::default() }, &calls)
    }

    fn stock(&mut self, after: usize, at: u64) -> (usize, u64) {
        let (queue, run) = (self.queue(), self.time(0.4, 0.3));
        let chatty = self.touched && self.scene.fault == Fault::Chatty;
        let mut calls = vec![Call::to("inventory", 0.0, self.time(4.5, 0.4))];
        if chatty {
            let more = 9;
            let each = (self.extra(&[Fault::Chatty]) + 4.0) / f64::from(more);
            calls.extend((0..more).map(|n| Call { occurrence: n + 2, ..Call::to("inventory", 0.0, each) }));
        }
        self.step("stock", Some(after), at, Times { queue, run, ..Times::default() }, &calls)
    }

    /// A race of two replicas: the first answer counts, the other runs on unheeded.
    fn reco(&mut self, after: usize, at: u64) -> (usize, u64) {
        let (queue, run) = (self.queue(), self.time(0.3, 0.3));
        let extra = self.extra(&[Fault::SlowRegion]);
        let two = self.time(5.5, 0.3) + extra;
        // In this scene one replica is slow everywhere and never heeded, and the other is slow in one region.
        let decoy = if self.scene.fault == Fault::RaceDecoy { 60.0 + self.scene.extra_ms } else { 1.0 };
        let one = two + self.time(0.5, 0.3) + decoy;
        let two = two + self.extra(&[Fault::RaceDecoy]);
        let (first, ready) = self.begin("reco", Some(after), at, Times { queue, run, ..Times::default() });
        let called = self.call(first, None, ready, Call::to("model-a", 0.0, one));
        let winner = self.call(first, None, ready, Call::to("model-b", 0.0, two));
        let (winner, end) = if self.nodes[winner].end_ns <= self.nodes[called].end_ns {
            (winner, self.nodes[winner].end_ns)
        } else {
            (called, self.nodes[called].end_ns)
        };
        self.state(first, end - ready, Cause::Join, None, None);
        let resume = ns(self.time(0.2, 0.3));
        self.state(first, resume, Cause::Run, None, Some(winner));
        (first, self.nodes[first].end_ns)
    }

    fn open(&mut self, parent: Option<usize>, after: Option<usize>, name: &str, kind: NodeKind, at: u64) -> usize {
        let place = self.nodes.len();
        let id = |n: usize| NodeId(n as u16);
        self.nodes.push(Node {
            span_id: zerver_telemetry::id::SpanId(0),
            id: id(place),
            parent: parent.map(id),
            after: after.map(id),
            name: name.into(),
            kind,
            attempt: 1,
            occurrence: 1,
            start_ns: at,
            end_ns: at,
            outcome: Outcome::Ok,
            status: 0,
            error: None,
            states: Vec::new(),
            attrs: Vec::new(),
        });
        place
    }

    fn state(&mut self, node: usize, length: u64, cause: Cause, name: Option<&str>, woken_by: Option<usize>) {
        let worker = (cause == Cause::Run).then_some(self.worker);
        let node = &mut self.nodes[node];
        let from_ns = node.end_ns;
        node.end_ns += length;
        node.states.push(State {
            from_ns,
            to_ns: node.end_ns,
            cause,
            name: name.map(Into::into),
            woken_by: woken_by.map(|n| NodeId(n as u16)),
            worker,
            promoted: None,
            folded: false,
        });
    }

    /// A step up to its first call: queued, held, running.
    fn begin(&mut self, name: &str, after: Option<usize>, at: u64, times: Times) -> (usize, u64) {
        let step = self.open(Some(0), after, name, NodeKind::Step, at);
        for (length, cause, what) in [
            (times.queue, Cause::Worker, None),
            (times.rate, Cause::Rate, Some("tenant")),
            (times.lock, Cause::Lock, Some("cart")),
        ] {
            if length > 0.0 {
                self.state(step, ns(length), cause, what, None);
            }
        }
        self.state(step, ns(times.run), Cause::Run, None, None);
        (step, self.nodes[step].end_ns)
    }

    /// A step with its calls one after the other; gives the node and its end.
    fn step(&mut self, name: &str, after: Option<usize>, at: u64, times: Times, calls: &[Call]) -> (usize, u64) {
        let (step, _) = self.begin(name, after, at, times);
        let mut before = None;
        for call in calls {
            if call.attempt > 1 {
                self.state(step, ns(times.timer), Cause::Timer, Some("back_off"), None);
            }
            let from = self.nodes[step].end_ns;
            let node = self.call(step, before, from, *call);
            before = Some(node);
            self.state(step, self.nodes[node].end_ns - from, Cause::Join, None, None);
            let queued = ns(self.time(0.05, 0.5));
            self.state(step, queued, Cause::Worker, None, Some(node));
            let run = ns(self.time(0.1, 0.3));
            self.state(step, run, Cause::Run, None, None);
        }
        if calls.is_empty() && times.timer > 0.0 {
            self.state(step, ns(times.timer), Cause::Timer, Some("pause"), None);
        }
        (step, self.nodes[step].end_ns)
    }

    fn call(&mut self, step: usize, after: Option<usize>, at: u64, call: Call) -> usize {
        let node = self.open(Some(step), after, call.name, NodeKind::Effect, at);
        if call.permit > 0.0 {
            self.state(node, ns(call.permit), Cause::Permit, Some(call.name), None);
        }
        self.state(node, ns(call.io), Cause::Io, Some(call.name), None);
        let (peer, zone, cold) = (self.peer, self.zone, self.cold);
        let made = &mut self.nodes[node];
        (made.attempt, made.occurrence) = (call.attempt, call.occurrence);
        (made.outcome, made.status) = (call.outcome, call.status);
        if call.name == "quotes" {
            made.attrs.push(("peer".into(), text(format!("10.0.0.{peer}:80"))));
            made.attrs.push(("zone".into(), text(format!("z{zone}"))));
            made.attrs.push(("reused".into(), Value::Bool(!cold)));
        }
        node
    }

    fn finish(mut self, n: usize, latency_ns: u64) -> Timeline {
        let mut attrs: Vec<(Arc<str>, Value)> = vec![
            ("tenant".into(), text(format!("t{}", self.tenant))),
            ("region".into(), text(format!("r{}", self.region))),
            ("version".into(), text(format!("v{}", self.version))),
            ("client".into(), text(format!("c{}", self.client))),
            ("cart".into(), text(format!("k{}", self.key))),
            ("body.bytes".into(), Value::Int(self.body as i64)),
            ("items".into(), Value::Int(self.items)),
            ("amount".into(), Value::Float(self.amount)),
            ("in_flight".into(), Value::Int(self.random.below(64) as i64)),
        ];
        for (key, values) in [("method", 2), ("device", 3), ("lang", 5), ("plan", 3), ("ab", 2), ("proto", 2)] {
            attrs.push((key.into(), text(format!("{key}{}", self.random.below(values)))));
        }
        self.nodes[0].attrs = attrs;
        Timeline {
            seq: n as u64,
            trace_id: TraceId(u128::from(mix(self.scene.seed ^ 77)) << 64 | (n as u128 + 1)),
            span_id: SpanId(n as u64 + 1),
            parent_span_id: None,
            sampled: false,
            route: "checkout".into(),
            flow: None,
            config_version: 1,
            start_unix_ns: STARTED_UNIX_NS + (self.arrival * WINDOW_NS as f64) as u64,
            latency_ns,
            outcome: Outcome::Ok,
            status: 200,
            error: None,
            weight: 1.0,
            kept: Vec::new(),
            lost_events: 0,
            nodes: self.nodes,
        }
    }
}
