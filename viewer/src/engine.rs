//! The seam to the comparison: who finds the difference between two cohorts.

use std::fmt;
use std::sync::Arc;

use zerver_telemetry::explain::{self, Cohorts, Comparison};
use zerver_telemetry::timeline::Timeline;

/// The comparison the viewer asks for, as a function, so that a screen can be shown with known numbers.
///
/// It is called on a thread of its own, never on the one that draws. Cloning shares the function.
#[derive(Clone)]
pub struct Engine(Arc<Compare>);

type Compare = dyn Fn(&[Arc<Timeline>], Option<&str>, &Cohorts) -> Comparison + Send + Sync;

impl Engine {
    /// An engine of one pure function: the comparison of two cohorts of one route.
    #[must_use]
    pub fn new(
        compare: impl Fn(&[Arc<Timeline>], Option<&str>, &Cohorts) -> Comparison + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(compare))
    }

    pub(crate) fn compare(&self, timelines: &[Arc<Timeline>], route: Option<&str>, cohorts: &Cohorts) -> Comparison {
        (self.0)(timelines, route, cohorts)
    }
}

/// The engine of this project: [`explain::compare()`].
impl Default for Engine {
    fn default() -> Self {
        Self::new(explain::compare)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
