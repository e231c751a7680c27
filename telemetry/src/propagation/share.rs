//! A share of the traces that begin here, and what goes out with those that are in it.

use std::sync::Arc;

use super::{Carried, tracestate};
use crate::id::TraceId;
use crate::sampling;

/// A share of the traces that begin here: those in it are sampled, and say in their `tracestate` with what chance that was.
/// Made at load; what goes out is shared by all requests that brought nothing.
#[derive(Clone, Debug)]
pub struct Share {
    ratio: f64,
    carried: Arc<Carried>,
}

impl Share {
    /// The share `ratio`, 0 to 1.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        Self { ratio, carried: Arc::new(Self::added(ratio, Carried::default())) }
    }

    /// Whether a trace is in it.
    #[must_use]
    pub fn takes(&self, trace: TraceId) -> bool {
        sampling::head(self.ratio, trace)
    }

    /// What goes on with the calls of a trace that is in it and brought `brought`.
    #[must_use]
    pub fn carried(&self, brought: Carried) -> Arc<Carried> {
        match brought {
            _ if brought == Carried::default() => Arc::clone(&self.carried),
            brought if brought.trace => Arc::new(Self::added(self.ratio, brought)),
            brought => Arc::new(brought),
        }
    }

    fn added(ratio: f64, mut carried: Carried) -> Carried {
        let chance = sampling::threshold(ratio);
        carried.tracestate = tracestate::put(&carried.tracestate, tracestate::OPENTELEMETRY, &chance);
        carried
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_brings_nothing_shares_what_goes_out_and_who_brings_something_keeps_it() {
        let share = Share::new(0.25);
        let plain = share.carried(Carried::default());
        assert_eq!((&*plain.tracestate, &*plain.baggage), ("ot=th:c", ""));
        assert!(Arc::ptr_eq(&plain, &share.carried(Carried::default())));
        let brought = |trace| Carried { trace, tracestate: String::new(), baggage: "tenant=a".into() };
        let carried = share.carried(brought(true));
        assert_eq!((&*carried.tracestate, &*carried.baggage), ("ot=th:c", "tenant=a"));
        // Where no trace goes out, nothing is said of it.
        assert_eq!(*share.carried(brought(false)), brought(false));
    }
}
