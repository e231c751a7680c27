//! An upstream, its clients and a desk in virtual time: what the limit and the room do together under load.
//!
//! The upstream has slots and a first-in first-out queue, and it never stops work that nobody waits for any more. Clients
//! arrive by a Poisson process of their own (open loop) and leave at their deadline.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::Settings;
use super::class::{Class, TenantKey, fraction};
use super::desk::{Asked, Desk, Next, Ticket};
use super::moves::Outcome;
use super::queue::Arrival;
use super::shed::Reason;

mod overload;
mod cold;
mod fairness;

/// Something that changes with time, in seconds.
type OverTime = Box<dyn Fn(f64) -> f64>;

/// One stream of requests.
struct Stream {
    class: Class,
    tenant: TenantKey,
    per_second: OverTime,
}

/// What is simulated.
struct Scene {
    settings: Settings,
    streams: Vec<Stream>,
    slots: OverTime,
    service_s: OverTime,
    /// Service times vary exponentially; else they are all alike.
    varied: bool,
    deadline: Duration,
    seconds: f64,
    seed: u64,
}

impl Scene {
    fn new(slots: f64, service_s: f64) -> Self {
        Self {
            settings: Settings::default(),
            streams: Vec::new(),
            slots: Box::new(move |_| slots),
            service_s: Box::new(move |_| service_s),
            varied: true,
            deadline: Duration::from_millis(500),
            seconds: 10.0,
            seed: 1,
        }
    }

    fn stream(mut self, class: Class, tenant: &str, per_second: impl Fn(f64) -> f64 + 'static) -> Self {
        let tenant = TenantKey::verified(tenant.as_bytes());
        self.streams.push(Stream { class, tenant, per_second: Box::new(per_second) });
        self
    }

    fn run(self) -> Run {
        World::new(self).run()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Good,
    Shed(Reason),
    GaveUp,
}

/// One request's story.
#[derive(Clone, Copy, Debug)]
struct Story {
    stream: usize,
    arrived: f64,
    /// When it was sent to the upstream; never, for most that were refused.
    sent: Option<f64>,
    ended: f64,
    end: End,
}

/// What came of a scene.
struct Run {
    stories: Vec<Story>,
    /// The most that ever stood in the upstream's own queue, by second.
    upstream_queue: Vec<usize>,
    /// Upstream work finished for nobody, of all, in seconds.
    wasted: (f64, f64),
}

impl Run {
    fn between(&self, from: f64, to: f64) -> impl Iterator<Item = &Story> {
        self.stories.iter().filter(move |story| (from..to).contains(&story.arrived))
    }

    fn of(&self, stream: usize, from: f64, to: f64) -> impl Iterator<Item = &Story> {
        self.between(from, to).filter(move |story| story.stream == stream)
    }

    /// Good answers per second that were finished in the span.
    fn goodput(&self, from: f64, to: f64) -> f64 {
        let good = |story: &&Story| story.end == End::Good && (from..to).contains(&story.ended);
        self.stories.iter().filter(good).count() as f64 / (to - from)
    }

    /// The share of a stream's requests that was served.
    fn served(&self, stream: usize, from: f64, to: f64) -> f64 {
        let (good, all) = self
            .of(stream, from, to)
            .fold((0, 0), |(good, all), story| (good + usize::from(story.end == End::Good), all + 1));
        good as f64 / (all as f64).max(1.0)
    }

    fn latency(stories: impl Iterator<Item = Story>, percentile: f64) -> f64 {
        let mut all: Vec<f64> = stories.filter(|s| s.end == End::Good).map(|s| s.ended - s.arrived).collect();
        all.sort_by(f64::total_cmp);
        all.get(((all.len() as f64 * percentile) as usize).min(all.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }

    fn p99(&self, from: f64, to: f64) -> f64 {
        Self::latency(self.between(from, to).copied(), 0.99)
    }

    fn sheds(&self, from: f64, to: f64) -> usize {
        self.between(from, to).filter(|story| matches!(story.end, End::Shed(_))).count()
    }

    /// The share of refusals that came later than `after` seconds.
    fn late(&self, from: f64, to: f64, after: f64) -> f64 {
        let sheds = self.between(from, to).filter(|story| matches!(story.end, End::Shed(_)));
        let (late, all) =
            sheds.fold((0, 0), |(late, all), story| (late + usize::from(story.ended - story.arrived > after), all + 1));
        late as f64 / (all as f64).max(1.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Look,
    Arrives(usize),
    Answered(usize),
    GivesUp(usize),
    WaitEnds(usize, u64),
    LingerEnds(usize),
}

struct Request {
    stream: usize,
    arrived: Duration,
    deadline: Duration,
    ticket: Option<Ticket>,
    place: Option<u64>,
    sent: Option<Duration>,
    service_s: f64,
    end: Option<(Duration, End)>,
}

struct World {
    scene: Scene,
    desk: Desk<usize>,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, What)>>,
    order: u64,
    random: u64,
    requests: Vec<Request>,
    busy: usize,
    queue: VecDeque<usize>,
    run: Run,
}

impl World {
    fn new(scene: Scene) -> Self {
        let mut world = Self {
            desk: Desk::new(&scene.settings, scene.seed),
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            order: 0,
            random: scene.seed << 32,
            requests: Vec::new(),
            busy: 0,
            queue: VecDeque::new(),
            run: Run { stories: Vec::new(), upstream_queue: vec![0; scene.seconds as usize + 1], wasted: (0.0, 0.0) },
            scene,
        };
        world.at(Duration::ZERO, What::Look);
        for stream in 0..world.scene.streams.len() {
            world.next_arrival(stream);
        }
        world
    }

    fn run(mut self) -> Run {
        let end = Duration::from_secs_f64(self.scene.seconds);
        while let Some(Reverse((at, _, what))) = self.events.pop() {
            if at >= end {
                break;
            }
            self.now = at;
            self.happen(what);
            self.upstream();
        }
        let now = self.now.as_secs_f64();
        for request in &self.requests {
            if let Some((ended, how)) = request.end {
                self.run.stories.push(Story {
                    stream: request.stream,
                    arrived: request.arrived.as_secs_f64(),
                    sent: request.sent.map(|sent| sent.as_secs_f64()),
                    ended: ended.as_secs_f64(),
                    end: how,
                });
            }
        }
        assert!(now > 0.0);
        self.run
    }

    fn at(&mut self, at: Duration, what: What) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, what)));
    }

    fn exponential(&mut self) -> f64 {
        self.random += 1;
        -(1.0 - fraction(self.random)).ln()
    }

    fn next_arrival(&mut self, stream: usize) {
        let rate = (self.scene.streams[stream].per_second)(self.now.as_secs_f64());
        if rate > 0.0 {
            let gap = self.exponential() / rate;
            self.at(self.now + Duration::from_secs_f64(gap), What::Arrives(stream));
        } else {
            self.at(self.now + Duration::from_millis(10), What::Arrives(usize::MAX - stream));
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            // The upstream may have got slots back.
            What::Look => self.at(self.now + Duration::from_millis(10), What::Look),
            // A stream that is silent now looks again.
            What::Arrives(silent) if silent > self.scene.streams.len() => self.next_arrival(usize::MAX - silent),
            What::Arrives(stream) => {
                self.next_arrival(stream);
                self.arrive(stream);
            }
            What::Answered(id) => {
                self.busy -= 1;
                self.run.wasted.1 += self.requests[id].service_s;
                if self.requests[id].end.is_none() {
                    if let Some(ticket) = self.requests[id].ticket.take() {
                        self.desk.finish(self.now, &ticket, Outcome::Good);
                    }
                    self.requests[id].end = Some((self.now, End::Good));
                } else {
                    self.run.wasted.0 += self.requests[id].service_s;
                }
            }
            What::GivesUp(id) => self.give_up(id),
            What::WaitEnds(id, number) => {
                let (class, deadline) =
                    (self.scene.streams[self.requests[id].stream].class, self.requests[id].deadline);
                let reason = if deadline <= self.now { Reason::Deadline } else { Reason::QueueWait };
                if let Some(shed) = self.desk.expire(self.now, number, class, reason) {
                    self.requests[id].end = Some((self.now, End::Shed(shed.reason)));
                }
            }
            What::LingerEnds(id) => {
                if let Some(ticket) = self.requests[id].ticket.take() {
                    self.desk.linger_end(self.now, &ticket);
                }
            }
        }
        while let Some(next) = self.desk.next(self.now) {
            match next {
                Next::Seat(id, ticket) => self.send(id, ticket),
                Next::Refused(id, shed) => self.requests[id].end = Some((self.now, End::Shed(shed.reason))),
            }
        }
        assert!(self.desk.in_use() <= self.desk.limit().bounds().1);
    }

    fn arrive(&mut self, stream: usize) {
        let id = self.requests.len();
        let deadline = self.now + self.scene.deadline;
        let Stream { class, tenant, .. } = self.scene.streams[stream];
        let (ticket, place, sent, end) = (None, None, None, None);
        self.requests.push(Request { stream, arrived: self.now, deadline, ticket, place, sent, service_s: 0.0, end });
        let arrival = Arrival { class, tenant, deadline: Some(deadline) };
        let (asked, displaced) = self.desk.ask(self.now, arrival, || id);
        if let Some((victim, shed)) = displaced {
            self.requests[victim].end = Some((self.now, End::Shed(shed.reason)));
        }
        match asked {
            Asked::Seat(ticket) => self.send(id, ticket),
            Asked::Wait(place) => {
                self.requests[id].place = Some(place.number);
                self.at(place.latest, What::WaitEnds(id, place.number));
            }
            Asked::Refused(shed) => {
                self.requests[id].end = Some((self.now, End::Shed(shed.reason)));
                return;
            }
        }
        self.at(deadline, What::GivesUp(id));
    }

    fn send(&mut self, id: usize, ticket: Ticket) {
        self.requests[id].ticket = Some(ticket);
        self.requests[id].place = None;
        self.requests[id].sent = Some(self.now);
        self.queue.push_back(id);
    }

    fn give_up(&mut self, id: usize) {
        if self.requests[id].end.is_some() {
            return;
        }
        self.requests[id].end = Some((self.now, End::GaveUp));
        if let Some(number) = self.requests[id].place.take() {
            self.desk.leave(number);
        }
        if let Some(ticket) = self.requests[id].ticket.take() {
            match self.desk.linger(self.now, &ticket, Outcome::Timeout) {
                Some(hold) => {
                    self.at(self.now + hold, What::LingerEnds(id));
                    self.requests[id].ticket = Some(ticket);
                }
                None => self.desk.finish(self.now, &ticket, Outcome::Timeout),
            }
        }
    }

    fn upstream(&mut self) {
        let now = self.now.as_secs_f64();
        while self.busy < (self.scene.slots)(now) as usize {
            let Some(id) = self.queue.pop_front() else { break };
            let spread = if self.scene.varied { self.exponential() } else { 1.0 };
            let service_s = (self.scene.service_s)(now) * spread;
            self.requests[id].service_s = service_s;
            self.busy += 1;
            self.at(self.now + Duration::from_secs_f64(service_s), What::Answered(id));
        }
        let worst = &mut self.run.upstream_queue[now as usize];
        *worst = (*worst).max(self.queue.len());
    }
}
