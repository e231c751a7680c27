//! Rate limits: how many requests a key may make in a window, decided at once by GCRA.
//!
//! The generic cell rate algorithm keeps one moment per key and admits no more than the burst plus the steady rate over
//! any span; there is no window edge at which twice the quota slips through.

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zerver_telemetry::clock::Clock;

use store::Store;
use wound::WoundClock;

mod wound;
mod store;
mod fields;

/// A rate limit's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateSettings {
    /// The policy's name, as clients see it: printable ASCII.
    pub name: String,
    /// Requests a key may make per window.
    pub requests: NonZeroU32,
    /// The window: `1s`, `1m`.
    #[serde(with = "crate::config::duration")]
    #[schemars(schema_with = "crate::config::duration::schema")]
    pub window: Duration,
    /// Requests a rested key may make at once; as many as `requests` unless set.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
    /// What has a quota of its own.
    #[serde(default)]
    pub key: KeyBy,
    /// Keys remembered at once. Beyond it, those nearest to a full quota are forgotten first (and counted).
    #[serde(default = "keys_max")]
    pub keys_max: NonZeroU32,
}

fn keys_max() -> NonZeroU32 {
    NonZeroU32::new(100_000).unwrap_or(NonZeroU32::MIN)
}

/// What has a quota of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyBy {
    /// The route: all its clients share the quota.
    #[default]
    Route,
    /// The client's address.
    ClientIp,
    /// The tenant that this request header names.
    TenantHeader(String),
    /// The API key in this request header. Keys are hashed, never kept.
    ApiKeyHeader(String),
}

/// Why settings are not a rate limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// The name cannot stand in a header.
    #[error("the rate limit's name {name:?} is empty or not printable ASCII; it is sent to clients in a header")]
    Name {
        /// The name as written.
        name: String,
    },
    /// The window is too short for the requests.
    #[error(
        "rate limit `{name}`: a window of {window:?} for {requests} requests leaves less than a nanosecond for each"
    )]
    Window {
        /// The limit's name.
        name: String,
        /// The window as written.
        window: Duration,
        /// The requests as written.
        requests: u32,
    },
    /// The header to take the key from has no valid name.
    #[error("rate limit `{name}`: {header:?} is no header name")]
    Header {
        /// The limit's name.
        name: String,
        /// The header as written.
        header: String,
    },
}

/// One rate limit with all its keys. Checking costs a hash, a short lock of one in 16 shards, and no allocation but for a
/// key that is new.
#[derive(Debug)]
pub struct RateLimit {
    settings: RateSettings,
    limiter: RateLimiter<u64, Store, WoundClock, StateInformationMiddleware>,
    clock: WoundClock,
    store: Store,
    hasher: foldhash::quality::RandomState,
    interval: Duration,
    burst: u32,
}

/// What a rate limit says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The request may go on.
    pub allowed: bool,
    /// Requests the key may still make at once.
    pub remaining: u32,
    /// Until the whole burst is there again; where nothing remains, until the next request is allowed.
    pub reset: Duration,
}

/// What there is to see of a rate limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RateState {
    /// The policy's name.
    pub name: String,
    /// Keys remembered now.
    pub keys: usize,
    /// The most it remembers.
    pub keys_max: u32,
    /// Keys forgotten although their quota was not whole again: each was given back what it had used.
    pub keys_forgotten_total: u64,
}

impl RateLimit {
    /// A limit with every quota whole.
    ///
    /// # Errors
    /// [`RateError`] for a name or a window that cannot be.
    pub fn new(settings: RateSettings, clock: Clock) -> Result<Self, RateError> {
        let name = settings.name.clone();
        if name.is_empty() || !name.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return Err(RateError::Name { name });
        }
        if let KeyBy::TenantHeader(header) | KeyBy::ApiKeyHeader(header) = &settings.key
            && http::HeaderName::from_bytes(header.as_bytes()).is_err()
        {
            return Err(RateError::Header { name, header: header.clone() });
        }
        let requests = settings.requests.get();
        let interval = settings.window / requests;
        let quota = Quota::with_period(interval)
            .ok_or(RateError::Window { name, window: settings.window, requests })?
            .allow_burst(settings.burst.unwrap_or(settings.requests));
        let clock = WoundClock::new(clock);
        let store = Store::new(settings.keys_max.get() as usize, clock.clone());
        let limiter = RateLimiter::new(quota, store.clone(), clock.clone());
        let hasher = foldhash::quality::RandomState::default();
        let burst = quota.burst_size().get();
        Ok(Self { settings, limiter, clock, store, hasher, interval, burst })
    }

    /// Its settings; [`RateSettings::key`] says what to pass to [`RateLimit::check`].
    #[must_use]
    pub fn settings(&self) -> &RateSettings {
        &self.settings
    }

    /// Counts one request of `key`. A refusal uses nothing up.
    ///
    /// For [`KeyBy::Route`] the key is the route's name. A request without the key's header shares the empty key.
    #[must_use]
    pub fn check(&self, key: &[u8]) -> Decision {
        match self.limiter.check_key(&self.hasher.hash_one(key)) {
            Ok(snapshot) => {
                let remaining = snapshot.remaining_burst_capacity();
                let missing = if remaining == 0 { 1 } else { self.burst.saturating_sub(remaining) };
                Decision { allowed: true, remaining, reset: self.interval * missing }
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(governor::clock::Clock::now(&self.clock));
                Decision { allowed: false, remaining: 0, reset: wait }
            }
        }
    }

    /// Forgets the keys whose quota is whole again: nothing is lost by it. To be called now and then, every minute say;
    /// the bound on keys holds without it.
    pub fn retain_recent(&self) {
        self.store.retain_recent();
    }

    /// What there is to see of it.
    #[must_use]
    pub fn state(&self) -> RateState {
        RateState {
            name: self.settings.name.clone(),
            keys: self.store.len(),
            keys_max: self.settings.keys_max.get(),
            keys_forgotten_total: self.store.forgotten(),
        }
    }

    /// The value of `RateLimit-Policy`: the same for every answer.
    #[must_use]
    pub fn policy_field(&self) -> String {
        fields::policy(&self.settings.name, self.settings.requests.get(), self.settings.window)
    }

    /// The value of `RateLimit` for one answer.
    #[must_use]
    pub fn limit_field(&self, decision: Decision) -> String {
        fields::limit(&self.settings.name, decision.remaining, decision.reset)
    }
}

impl Decision {
    /// The value of `Retry-After`, in whole seconds; none when the request was allowed.
    #[must_use]
    pub fn retry_after_field(&self) -> Option<String> {
        (!self.allowed).then(|| fields::whole_seconds(self.reset).max(1).to_string())
    }
}

#[cfg(test)]
mod tests;
