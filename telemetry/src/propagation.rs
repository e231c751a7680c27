//! What a request brings from its caller and takes on to other services: the trace, the vendors' states, the baggage.
//!
//! Nothing of it is trusted: it is read within its bounds, what is malformed is left out and counted, and no decision is
//! taken by it but the sampled flag of the trace.
//!
//! Sources: W3C Trace Context, level 2 (Candidate Recommendation of 2024); W3C Baggage.

mod list;
pub mod tracestate;
pub mod baggage;
mod share;

use crate::id::TraceContext;

pub use list::Kept;
pub use share::Share;

/// Which of the headers are spoken. A gateway that does not speak one neither reads nor sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagators {
    /// `traceparent` and `tracestate` (default true).
    pub trace_context: bool,
    /// `baggage` (default true).
    pub baggage: bool,
}

impl Default for Propagators {
    fn default() -> Self {
        Self { trace_context: true, baggage: true }
    }
}

/// What goes on with a request's calls to other services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Whether the trace goes on (default true).
    pub trace: bool,
    /// The `tracestate`; empty for none.
    pub tracestate: String,
    /// The `baggage`; empty for none.
    pub baggage: String,
}

impl Default for Carried {
    fn default() -> Self {
        Self { trace: true, tracestate: String::new(), baggage: String::new() }
    }
}

/// What a request brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// The trace it belongs to; none where a new one begins.
    pub context: Option<TraceContext>,
    /// What goes on.
    pub carried: Carried,
    /// Members of `tracestate` and of `baggage` that do not go on: malformed, or beyond the bounds.
    pub lost: [u32; 2],
}

impl Brought {
    /// Reads a request's headers, each as its fields in their order. The states of vendors belong to the trace: without
    /// a sound one they end here.
    pub fn read<'h, F: IntoIterator<Item = &'h [u8]>>(spoken: Propagators, fields: impl Fn(&'static str) -> F) -> Self {
        let mut brought =
            Self { carried: Carried { trace: spoken.trace_context, ..Carried::default() }, ..Self::default() };
        if spoken.trace_context {
            brought.context = TraceContext::read(fields("traceparent"));
            if brought.context.is_some() {
                let Kept { text, lost } = tracestate::read(fields("tracestate"));
                (brought.carried.tracestate, brought.lost[0]) = (text, lost);
            }
        }
        if spoken.baggage {
            let Kept { text, lost } = baggage::read(fields("baggage"));
            (brought.carried.baggage, brought.lost[1]) = (text, lost);
        }
        brought
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(spoken: Propagators, parents: &[&'static [u8]]) -> Brought {
        Brought::read(spoken, |name| match name {
            "traceparent" => parents.to_vec(),
            "tracestate" => vec![&b"a=1"[..], b"b=2"],
            _ => vec![&b"tenant=shop"[..], b"bad member", b"x=1"],
        })
    }

    #[test]
    fn states_go_on_only_with_a_sound_trace_and_baggage_always() {
        let all = Propagators::default();
        let sound = read(all, &[PARENT]);
        assert!(sound.context.is_some());
        assert_eq!((sound.carried.tracestate.as_str(), sound.carried.baggage.as_str()), ("a=1,b=2", "tenant=shop,x=1"));
        assert_eq!(sound.lost, [0, 1]);
        for parents in [&[][..], &[PARENT, PARENT], &[b"00-bad"]] {
            let brought = read(all, parents);
            assert_eq!((brought.context, brought.carried.tracestate.as_str()), (None, ""));
            assert_eq!(brought.carried.baggage, "tenant=shop,x=1");
        }
    }

    #[test]
    fn what_is_not_spoken_is_not_read() {
        let brought = read(Propagators { trace_context: false, baggage: false }, &[PARENT]);
        assert_eq!(brought, Brought { carried: Carried { trace: false, ..Carried::default() }, ..Brought::default() });
    }
}
