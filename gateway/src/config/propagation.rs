//! Settings of what goes on from a request to the calls made for it: which headers are spoken, and what baggage is noted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zerver_telemetry::names::{Name, Names};
use zerver_telemetry::propagation::{Propagators, baggage};

use super::placed::Placed;
use super::problem::Problem;

/// A way to carry a trace on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Propagator {
    /// `traceparent` and `tracestate` of W3C Trace Context.
    TraceContext,
    /// `baggage` of W3C Baggage.
    Baggage,
}

/// All of them: what is spoken unless the page says otherwise.
pub const ALL: [Propagator; 2] = [Propagator::TraceContext, Propagator::Baggage];

/// Members of the baggage that may be noted: a request's timeline has little room for texts.
const NOTED: usize = 8;

/// Those of a list, for the edge.
#[must_use]
pub fn spoken(list: &[Propagator]) -> Propagators {
    Propagators {
        trace_context: list.contains(&Propagator::TraceContext),
        baggage: list.contains(&Propagator::Baggage),
    }
}

/// The members of the baggage to note, each with its attribute's name. What is wrong with the list is noted.
pub fn noted(list: &[Placed<String>], names: &Names, problems: &mut Vec<Problem>) -> Vec<(String, Name)> {
    if let Some(first) = list.get(NOTED) {
        problems.push(
            Problem::at(first.place(), format!("`telemetry.baggage` names {} members", list.len()))
                .help(format!("a timeline has room for {NOTED}: name those that tell requests apart")),
        );
    }
    for name in list.iter().filter(|name| !baggage::is_name(name)) {
        problems.push(
            Problem::at(name.place(), format!("`{}` is no name that baggage may have", **name))
                .help("write the name as it stands before the `=`, such as `tenant`"),
        );
    }
    list.iter().map(|name| ((**name).clone(), names.intern(&format!("zerver.baggage.{}", **name)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_names_is_checked() {
        let names = Names::default();
        let list = |texts: &[&str]| -> Vec<Placed<String>> {
            texts.iter().map(|text| Placed::nowhere((*text).to_owned())).collect()
        };
        let mut problems = Vec::new();
        let known = noted(&list(&["tenant", "user.id"]), &names, &mut problems);
        assert!(problems.is_empty());
        assert_eq!((known[0].0.as_str(), known[1].1), ("tenant", names.intern("zerver.baggage.user.id")));
        noted(&list(&["a b", "a", "a", "a", "a", "a", "a", "a", ""]), &names, &mut problems);
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn each_may_be_spoken_or_not() {
        let said =
            [&[][..], &[Propagator::Baggage], &ALL].map(|list| (spoken(list).trace_context, spoken(list).baggage));
        assert_eq!(said, [(false, false), (false, true), (true, true)]);
    }
}
