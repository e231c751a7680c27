//! The request that is recorded: 1 request, 4 steps, 6 effects, 46 records, as a flow would write them.

use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::names::{Name, Names};
use zerver_telemetry::recorder::{Opening, Recorder};

/// Records it writes: 11 nodes opened and ended, 18 states, 6 attributes.
pub(crate) const RECORDS: u64 = 46;

/// Spans it becomes: itself, its steps, its effects.
pub(crate) const SPANS: u64 = 11;

/// Effects of each step.
const EFFECTS: [usize; 4] = [2, 2, 1, 1];

/// Where its moments come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// Each record that has a moment reads the clock for it.
    Each,
    /// The clock is read once where two events meet, as the flows' driver does.
    Shared,
}

impl Stamps {
    /// How often the clock is read.
    pub(super) fn reads(self) -> u64 {
        match self {
            // All but the attributes.
            Self::Each => RECORDS - 6,
            // The start; each step's first poll, pause, wake by each effect, resumption and end; each effect's start.
            Self::Shared => 1 + 4 * 4 + 6 + 6,
        }
    }
}

/// Names, interned as they are at load.
#[derive(Debug)]
pub(crate) struct Words {
    pub(super) route: Name,
    pub(super) steps: [Name; 4],
    pub(super) targets: [Name; 6],
    pub(super) attribute: Name,
}

impl Words {
    pub(crate) fn new(names: &Names) -> Self {
        Self {
            route: names.intern("checkout"),
            steps: ["auth", "cart", "quote", "respond"].map(|name| names.intern(name)),
            targets: ["users", "carts", "stock", "prices", "tax", "mail"].map(|name| names.intern(name)),
            attribute: names.intern("peer"),
        }
    }
}

/// Records one such request, first record to hand-over. A sampled one is exported, where there is an exporter.
pub(crate) fn record(recorder: &Recorder, words: &Words, stamps: Stamps, sampled: bool) {
    let clock = recorder.clock();
    let mut last = clock.now();
    // The present moment for a record that begins something; for one that shares its moment, the latest one read.
    let fresh = |last: &mut Ticks| {
        *last = clock.now();
        *last
    };
    let shared = |last: &mut Ticks| match stamps {
        Stamps::Each => fresh(last),
        Stamps::Shared => *last,
    };
    let log = recorder.start(last, None, sampled);
    log.route(words.route, words.route, 1);
    log.state(shared(&mut last), NodeId::ROOT, Cause::Join, Name::NONE, None);
    let (mut effect, mut before) = (0, None);
    for (name, effects) in words.steps.iter().zip(EFFECTS) {
        let opening = Opening::running(*name, NodeKind::Step, NodeId::ROOT);
        let step = log.open(shared(&mut last), opening.after(before).in_state(Cause::Worker, Name::NONE));
        log.state(fresh(&mut last), step, Cause::Run, Name::NONE, None);
        let first = effect;
        let mut nodes = [NodeId::ROOT; 2];
        for node in &mut nodes[..effects] {
            let target = words.targets[effect];
            let opening = Opening::running(target, NodeKind::Effect, step).in_state(Cause::Io, target);
            *node = log.open(fresh(&mut last), opening);
            log.attr_name(*node, words.attribute, words.targets[first]);
            effect += 1;
        }
        log.state(fresh(&mut last), step, Cause::Join, Name::NONE, None);
        for node in &nodes[..effects] {
            log.close(fresh(&mut last), *node, Outcome::Ok, 200, Name::NONE);
        }
        log.state(shared(&mut last), step, Cause::Worker, Name::NONE, Some(nodes[effects - 1]));
        log.state(fresh(&mut last), step, Cause::Run, Name::NONE, None);
        log.close(fresh(&mut last), step, Outcome::Ok, 0, Name::NONE);
        before = Some(step);
    }
    log.state(shared(&mut last), NodeId::ROOT, Cause::Run, Name::NONE, before);
    let end = shared(&mut last);
    log.finish(end, Outcome::Ok, 200, Name::NONE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerver_telemetry::clock::Clock;

    #[test]
    fn it_is_a_sound_timeline_of_the_size_it_says() {
        for stamps in [Stamps::Each, Stamps::Shared] {
            let recorder = Recorder::for_tests(Clock::real());
            record(&recorder, &Words::new(recorder.names()), stamps, false);
            let timeline = recorder.timelines().remove(0);
            timeline.check().expect("its states tile its nodes' lives");
            let nodes = timeline.nodes.len() as u64;
            let states: u64 = timeline.nodes.iter().map(|node| node.states.len() as u64).sum();
            let attributes: u64 = timeline.nodes.iter().map(|node| node.attrs.len() as u64).sum();
            assert_eq!((nodes, attributes), (11, 6));
            if stamps == Stamps::Each {
                // A node's first state comes with its opening; with shared moments some states have no length and go.
                assert_eq!(2 * nodes + (states - nodes) + attributes, RECORDS);
            }
        }
    }
}
