//! How several branches become one result: when each may start, and when enough of them have ended. Pure: no futures, no time.

use std::time::Duration;

/// A join: when its branches start and what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join {
    /// Which branches it waits for.
    pub take: Take,
    /// When a branch starts.
    pub start: Start,
}

/// Which branches a join waits for. A branch that is not needed any more is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// All of them; the first failure of a required one ends the join.
    All,
    /// The required ones: optional ones that have not ended by then are left out.
    AllRequired,
    /// The first to end, be it with a failure.
    First,
    /// The first success; it fails when all have failed.
    FirstOk,
    /// So many successes; it fails when too few branches are left for them.
    Quorum(u16),
}

/// When the branches of a join start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// All at once.
    Together,
    /// Each when the one before it has ended.
    OneByOne,
    /// All in turn, never more than so many at a time; at least one.
    AtMost(u16),
    /// Each when those before it have given nothing for so long, or have all failed.
    After(Duration),
    /// The same, after as long as this percentile of the first branch's recent times; the duration until that is known.
    AfterPercentile(u8, Duration),
}

impl Join {
    /// All branches at once, all of them needed: what a flow does with its steps.
    pub const ALL: Self = Self { take: Take::All, start: Start::Together };

    /// Its word in graphs and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match (self.take, self.start) {
            (Take::FirstOk, Start::After(_) | Start::AfterPercentile(..)) => "hedge",
            (Take::All, _) => "all",
            (Take::AllRequired, _) => "all_required",
            (Take::First, _) => "race",
            (Take::FirstOk, _) => "first_ok",
            (Take::Quorum(_), _) => "quorum",
        }
    }
}

/// What is known of a join's branches so far. At most 128 of them: sets of branches are bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    take: Take,
    branches: usize,
    required: u128,
    ok: u128,
    failed: u128,
    /// The first to end, and whether it did well.
    first: Option<bool>,
}

/// Whether a join has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Open,
    /// Enough branches have done well.
    Won,
    /// The last failure ends it.
    Lost,
}

impl Tally {
    /// No branch has ended. The bits of `optional` are branches that may fail.
    pub(crate) fn new(take: Take, branches: usize, optional: u128) -> Self {
        Self { take, branches, required: all(branches) & !optional, ok: 0, failed: 0, first: None }
    }

    /// A branch ended.
    pub(crate) fn ended(&mut self, branch: usize, ok: bool) {
        let bit = 1 << branch;
        if ok {
            self.ok |= bit
        } else {
            self.failed |= bit
        }
        self.first.get_or_insert(ok);
    }

    /// Whether it goes on after a failure, in the hope of the other branches.
    pub(crate) fn gathers_failures(&self) -> bool {
        matches!(self.take, Take::FirstOk | Take::Quorum(_))
    }

    /// How the join stands.
    pub(crate) fn verdict(&self) -> Verdict {
        let ended = self.ok | self.failed;
        let won_if = |won: bool| if won { Verdict::Won } else { Verdict::Open };
        match self.take {
            Take::All | Take::AllRequired if self.failed & self.required != 0 => Verdict::Lost,
            Take::All => won_if(ended == all(self.branches)),
            Take::AllRequired => won_if(self.required & !ended == 0),
            Take::First => match self.first {
                None => Verdict::Open,
                Some(true) => Verdict::Won,
                Some(false) => Verdict::Lost,
            },
            Take::FirstOk => self.enough(1),
            Take::Quorum(needed) => self.enough(usize::from(needed)),
        }
    }

    fn enough(&self, needed: usize) -> Verdict {
        let ok = self.ok.count_ones() as usize;
        let left = self.branches - (self.ok | self.failed).count_ones() as usize;
        if ok >= needed {
            Verdict::Won
        } else if ok + left < needed {
            Verdict::Lost
        } else {
            Verdict::Open
        }
    }
}

/// The bits of the first `branches`.
pub(crate) const fn all(branches: usize) -> u128 {
    if branches >= 128 { u128::MAX } else { (1 << branches) - 1 }
}

impl Start {
    /// Whether branch `branch` may start, when those of `started` have, and of these the ones of `ended` are over;
    /// `late` when those that started have given nothing for the join's time.
    pub(crate) fn allows(self, branch: usize, started: u128, ended: u128, late: bool) -> bool {
        let running = started & !ended;
        let is_next = || started.count_ones() as usize == branch;
        match self {
            Self::Together => true,
            Self::AtMost(most) => running.count_ones() < u32::from(most.max(1)),
            Self::OneByOne => running == 0 && is_next(),
            Self::After(_) | Self::AfterPercentile(..) => (running == 0 || late) && is_next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order of ends of up to four branches, each well or badly, each required or not, against the rule in words.
    #[test]
    fn every_order_of_ends_has_its_verdict() {
        let mut seen = [0_u32; 3];
        for branches in 1..=4_usize {
            let takes = [Take::All, Take::AllRequired, Take::First, Take::FirstOk]
                .into_iter()
                .chain((1..=branches as u16).map(Take::Quorum));
            for take in takes {
                for optional in 0..1_u128 << branches {
                    walk(Tally::new(take, branches, optional), &mut Vec::new(), take, branches, optional, &mut seen);
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 1_000), "all verdicts come up: {seen:?}");
    }

    fn walk(
        tally: Tally,
        ends: &mut Vec<(usize, bool)>,
        take: Take,
        branches: usize,
        optional: u128,
        seen: &mut [u32; 3],
    ) {
        let expected = in_words(ends, take, branches, optional);
        assert_eq!(tally.verdict(), expected, "{take:?}, {branches} branches, optional {optional:b}, {ends:?}");
        seen[expected as usize] += 1;
        if expected != Verdict::Open {
            return;
        }
        for branch in (0..branches).filter(|b| ends.iter().all(|(ended, _)| ended != b)).collect::<Vec<_>>() {
            for ok in [true, false] {
                let mut next = tally;
                next.ended(branch, ok);
                ends.push((branch, ok));
                walk(next, ends, take, branches, optional, seen);
                ends.pop();
            }
        }
    }

    fn in_words(ends: &[(usize, bool)], take: Take, branches: usize, optional: u128) -> Verdict {
        let is_required = |branch: &usize| optional & (1 << *branch) == 0;
        let ok = ends.iter().filter(|(_, ok)| *ok).count();
        let failed = ends.len() - ok;
        let required_failed = ends.iter().any(|(branch, ok)| !ok && is_required(branch));
        let over = |branch: usize| ends.iter().any(|(ended, _)| *ended == branch);
        let needed = match take {
            Take::Quorum(needed) => usize::from(needed),
            _ => 1,
        };
        let (won, lost) = match take {
            Take::All => (ends.len() == branches && !required_failed, required_failed),
            Take::AllRequired => ((0..branches).filter(is_required).all(over) && !required_failed, required_failed),
            Take::First => (ends.first().is_some_and(|(_, ok)| *ok), ends.first().is_some_and(|(_, ok)| !ok)),
            Take::FirstOk | Take::Quorum(_) => (ok >= needed, branches - failed < needed),
        };
        match (won, lost) {
            (true, _) => Verdict::Won,
            (_, true) => Verdict::Lost,
            _ => Verdict::Open,
        }
    }

    #[test]
    fn branches_start_when_their_mode_says() {
        let (one, two) = (0b1, 0b11);
        assert!(Start::Together.allows(3, 0, 0, false));
        assert!(Start::AtMost(2).allows(1, one, 0, false) && !Start::AtMost(2).allows(2, two, 0, false));
        assert!(Start::AtMost(2).allows(2, two, one, false));
        assert!(!Start::OneByOne.allows(1, one, 0, true) && Start::OneByOne.allows(1, one, one, false));
        let hedge = Start::After(Duration::from_millis(80));
        assert!(hedge.allows(0, 0, 0, false) && !hedge.allows(1, one, 0, false) && hedge.allows(1, one, 0, true));
        assert!(hedge.allows(1, one, one, false) && !hedge.allows(2, one, one, true), "one after the other");
    }
}
