//! The rules of the linter: each has an id that never changes its meaning.

use std::fmt;

use serde::{Serialize, Serializer};

/// What the linter looks for. A rule's id is for ever: one that is given up leaves a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// ZF002: nobody answers for the flow, or nothing says what it is for.
    Unowned,
    /// ZF003: a slot is written and never read, and its step does nothing else.
    DeadSlot,
    /// ZF004: a write is to be tried again, and mostly is not.
    RetriedWrite,
    /// ZF005: a chain of steps may take longer than the flow.
    BeyondDeadline,
    /// ZF007: a write is made at several targets at once, of which one answer counts.
    JoinedWrite,
    /// ZF009: an optional call may hold up the answer as long as the flow may take.
    PatientOption,
    /// ZF012: two steps wait for each other that share no data.
    NeedlessOrder,
    /// ZF015: a call has no limit of time.
    NoTimeout,
    /// ZF016: an order is declared that holds without it.
    RedundantOrder,
    /// ZF017: a hedge begins when the step's time is over.
    LateHedge,
    /// ZF018: no route leads to the flow.
    Unreached,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It may do harm: something may happen twice.
    Error,
    /// It is seldom meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl Rule {
    /// Every rule, in the order of the ids.
    pub const ALL: [Self; 11] = [
        Self::Unowned,
        Self::DeadSlot,
        Self::RetriedWrite,
        Self::BeyondDeadline,
        Self::JoinedWrite,
        Self::PatientOption,
        Self::NeedlessOrder,
        Self::NoTimeout,
        Self::RedundantOrder,
        Self::LateHedge,
        Self::Unreached,
    ];

    /// Its id, as findings show it and `lint: { allow: […] }` takes it.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Unowned => "ZF002",
            Self::DeadSlot => "ZF003",
            Self::RetriedWrite => "ZF004",
            Self::BeyondDeadline => "ZF005",
            Self::JoinedWrite => "ZF007",
            Self::PatientOption => "ZF009",
            Self::NeedlessOrder => "ZF012",
            Self::NoTimeout => "ZF015",
            Self::RedundantOrder => "ZF016",
            Self::LateHedge => "ZF017",
            Self::Unreached => "ZF018",
        }
    }

    /// The rule with this id.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.id() == id)
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::JoinedWrite => Severity::Error,
            _ => Severity::Warning,
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_an_id_of_its_own_in_order_and_a_row_in_the_documentation() {
        let document = include_str!("../../../docs/flows.md");
        assert!(Rule::ALL.windows(2).all(|pair| pair[0].id() < pair[1].id() && pair[0] < pair[1]));
        for rule in Rule::ALL {
            assert_eq!(Rule::from_id(rule.id()), Some(rule));
            let row = format!("| {} | {} |", rule.id(), rule.severity());
            assert!(document.contains(&row), "docs/flows.md has no row `{row}`");
        }
        assert_eq!(Rule::from_id("ZF999"), None);
    }
}
