//! What a join should do, as a simulation of its branches event by event; it shares no code with the driver.

use std::time::Duration;

use zerver_telemetry::event::Outcome;

use crate::join::{Join, Start, Take};

/// The wait before a second try: what the other system asks for, and longer than the engine's own.
pub(super) const WAIT: Duration = Duration::from_secs(1);
/// The deadline of the flow: beyond everything that ends by itself.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// How the calls of a branch end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Good,
    /// With status 500, each time.
    Bad,
    Never,
    /// With status 503 and "again in a second" the first time, then well.
    Flaky,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    pub(super) takes: Duration,
    pub(super) end: End,
    pub(super) optional: bool,
}

/// What may be tried once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    Nothing,
    EachBranch,
    TheLine,
}

/// A flow of one line, a join, and an answer.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) join: Join,
    pub(super) branches: Vec<Branch>,
    pub(super) optional: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) retry: Retry,
    pub(super) leaves: Option<Duration>,
}

/// A node of a branch, or of its call: whose, from when to when, and how it ended.
pub(super) type Span = (usize, Duration, Duration, Outcome);

/// What should come of a case.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Which branches wrote their slot, or why the flow fails.
    pub(super) answer: Result<String, &'static str>,
    pub(super) elapsed: Duration,
    /// In the order in which they began.
    pub(super) branches: Vec<Span>,
    pub(super) calls: Vec<Span>,
    pub(super) line: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Calling { until: Option<Duration> },
    Pausing { until: Duration },
    Over { ok: bool },
}

/// How a join ended: with these slots written, with a failure that another try may cure or not, or cut off.
enum Came {
    Won(String),
    Lost { curable: bool },
    Cut,
}

/// The simulation of one case.
struct World<'c> {
    case: &'c Case,
    /// What cuts the line off: its timeout, the client, the deadline.
    bound: Duration,
    made: Vec<u32>,
    branches: Vec<Span>,
    calls: Vec<Span>,
}

pub(super) fn expected(case: &Case) -> Expected {
    let never = DEADLINE + DEADLINE;
    let (timeout, leaves) = (case.timeout.unwrap_or(never), case.leaves.unwrap_or(never));
    let bound = timeout.min(leaves).min(DEADLINE);
    let mut world = World { case, bound, made: vec![0; case.branches.len()], branches: Vec::new(), calls: Vec::new() };
    let (at, came) = world.line();
    let missing = || "-".repeat(case.branches.len());
    let (line, answer) = match came {
        Came::Won(text) => (Outcome::Ok, Ok(text)),
        Came::Lost { .. } => (Outcome::Error, Err("upstream_status")),
        Came::Cut if bound == leaves => (Outcome::Cancelled, Err("client_gone")),
        Came::Cut if bound == timeout => (Outcome::Timeout, Err("step_timeout")),
        Came::Cut => (Outcome::Cancelled, Err("deadline_exceeded")),
    };
    let stands_in = case.optional && line != Outcome::Cancelled;
    let answer = if stands_in { answer.or_else(|_| Ok(missing())) } else { answer };
    Expected { answer, elapsed: at, branches: world.branches, calls: world.calls, line: Some(line) }
}

impl World<'_> {
    /// The line with its tries.
    fn line(&mut self) -> (Duration, Came) {
        let (at, came) = self.join(Duration::ZERO);
        match came {
            Came::Lost { curable: true } if self.case.retry == Retry::TheLine && self.has_time(at) => {
                if at + WAIT > self.bound { (self.bound, Came::Cut) } else { self.join(at + WAIT) }
            }
            came => (at, came),
        }
    }

    /// Whether a second try may begin in time. Nobody knows that the client will leave.
    fn has_time(&self, at: Duration) -> bool {
        at + WAIT < self.case.timeout.unwrap_or(DEADLINE).min(DEADLINE)
    }

    /// The join, begun at `began`.
    fn join(&mut self, began: Duration) -> (Duration, Came) {
        let count = self.case.branches.len();
        let (mut states, mut calls) = (vec![State::Waiting; count], vec![Vec::new(); count]);
        let mut nodes: Vec<Option<usize>> = vec![None; count];
        // The ends so far: who, how, and whether another try may cure it.
        let mut ends: Vec<(usize, bool, bool)> = Vec::new();
        let (mut now, mut help) = (began, None);
        let came = 'over: loop {
            self.start(now, help, &mut states, &mut nodes, &mut calls, &mut |due| help = due);
            let due = |state: &State| match state {
                State::Calling { until } => *until,
                State::Pausing { until } => Some(*until),
                _ => None,
            };
            let next = states.iter().filter_map(due).chain(help).min().filter(|next| *next <= self.bound);
            let Some(next) = next else {
                now = self.bound;
                break Came::Cut;
            };
            now = next;
            for n in (0..count).filter(|n| due(&states[*n]) == Some(now)).collect::<Vec<_>>() {
                let Some((ok, curable)) = self.happens(n, now, &mut states, &mut calls) else {
                    continue;
                };
                let node = nodes[n].expect("it began");
                (self.branches[node].2, self.branches[node].3) = (now, if ok { Outcome::Ok } else { Outcome::Error });
                states[n] = State::Over { ok };
                ends.push((n, ok, curable));
                if let Some(came) = self.verdict(&ends) {
                    break 'over came;
                }
            }
        };
        // Who is still at it is cancelled now.
        for n in 0..count {
            if let (Some(node), false) = (nodes[n], matches!(states[n], State::Over { .. })) {
                (self.branches[node].2, self.branches[node].3) = (now, Outcome::Cancelled);
            }
            if let (State::Calling { .. }, Some(call)) = (states[n], calls[n].last()) {
                let call: usize = *call;
                (self.calls[call].2, self.calls[call].3) = (now, Outcome::Cancelled);
            }
        }
        (now, came)
    }

    /// Starts whoever may.
    fn start(
        &mut self,
        now: Duration,
        help: Option<Duration>,
        states: &mut [State],
        nodes: &mut [Option<usize>],
        calls: &mut [Vec<usize>],
        plan: &mut dyn FnMut(Option<Duration>),
    ) {
        let mut help = help;
        while let Some(n) = states.iter().position(|state| *state == State::Waiting) {
            let busy = states.iter().filter(|s| !matches!(s, State::Waiting | State::Over { .. })).count();
            let may = match self.case.join.start {
                Start::Together => true,
                Start::OneByOne => busy == 0,
                Start::AtMost(most) => busy < usize::from(most),
                Start::After(_) | Start::AfterPercentile(..) => busy == 0 || help.is_some_and(|at| at <= now),
            };
            if !may {
                break;
            }
            nodes[n] = Some(self.branches.len());
            self.branches.push((n, now, now, Outcome::Ok));
            states[n] = self.call(n, now, calls);
            if let Start::After(delay) = self.case.join.start {
                help = (n + 1 < states.len()).then(|| now + delay);
            }
        }
        plan(help);
    }

    /// A branch makes its call.
    fn call(&mut self, n: usize, now: Duration, calls: &mut [Vec<usize>]) -> State {
        let branch = self.case.branches[n];
        calls[n].push(self.calls.len());
        self.calls.push((n, now, now, Outcome::Ok));
        self.made[n] += 1;
        State::Calling { until: (branch.end != End::Never).then(|| now + branch.takes) }
    }

    /// What a branch was waiting for happens. Some when the branch ends with it: well or not, curable or not.
    fn happens(
        &mut self,
        n: usize,
        now: Duration,
        states: &mut [State],
        calls: &mut [Vec<usize>],
    ) -> Option<(bool, bool)> {
        if let State::Pausing { .. } = states[n] {
            states[n] = self.call(n, now, calls);
            return None;
        }
        let (ok, curable) = match self.case.branches[n].end {
            End::Good => (true, false),
            End::Flaky if self.made[n] > 1 => (true, false),
            End::Flaky => (false, true),
            End::Bad | End::Never => (false, false),
        };
        let call = *calls[n].last().expect("it is calling");
        (self.calls[call].2, self.calls[call].3) = (now, if ok { Outcome::Ok } else { Outcome::Error });
        if curable && self.case.retry == Retry::EachBranch && self.has_time(now) {
            states[n] = State::Pausing { until: now + WAIT };
            return None;
        }
        Some((ok, curable))
    }

    /// Whether the branches that have ended end the join, and how.
    fn verdict(&self, ends: &[(usize, bool, bool)]) -> Option<Came> {
        let count = self.case.branches.len();
        let good: Vec<usize> = ends.iter().filter(|end| end.1).map(|end| end.0).collect();
        let &(last, ok, curable) = ends.last()?;
        let needed = |n: &usize| !self.case.branches[*n].optional;
        let won = || {
            let letter = |n: usize| if good.contains(&n) { char::from(b'0' + n as u8) } else { '-' };
            Some(Came::Won((0..count).map(letter).collect()))
        };
        let lost = Some(Came::Lost { curable });
        let so_many = |wanted: usize| match (good.len() >= wanted, good.len() + count - ends.len() < wanted) {
            (true, _) => won(),
            (_, true) => Some(Came::Lost { curable }),
            _ => None,
        };
        match self.case.join.take {
            Take::All | Take::AllRequired if !ok && needed(&last) => lost,
            Take::All => (ends.len() == count).then(won).flatten(),
            Take::AllRequired => {
                (0..count).filter(needed).all(|n| ends.iter().any(|end| end.0 == n)).then(won).flatten()
            }
            Take::First if ok => won(),
            Take::First => lost,
            Take::FirstOk => so_many(1),
            Take::Quorum(wanted) => so_many(usize::from(wanted)),
        }
    }
}
