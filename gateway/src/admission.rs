//! Who may come in: a limit per upstream that finds itself, a short fair waiting room, and refusals that say why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod class;
mod shed;
mod pace;
mod moves;
mod limit;
mod knee;
mod queue;
mod desk;
mod gate;
#[cfg(test)]
mod simulation;

pub use class::{Class, TenantKey};
pub use gate::{Ask, Gate, GateState, LimitState, MoveState, Permit};
pub use knee::Knee;
pub use limit::{Limit, LimitSettings};
pub use moves::{Bounds, Finish, Move, Outcome, Why};
pub use queue::QueueSettings;
pub use shed::{Reason, Shed};

/// A gate's settings. All of them have defaults, and hardly any needs another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many requests may be inside at once.
    pub limit: LimitSettings,
    /// How long, and how many, may wait for a seat.
    pub queue: QueueSettings,
    /// Hold the seat of a client that left until the upstream should have finished. Switch it off only for an upstream
    /// that stops its work when the connection is cut.
    pub linger: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limit: LimitSettings::default(), queue: QueueSettings::default(), linger: true }
    }
}
