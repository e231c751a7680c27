//! Trying again: which failures a second try may cure, how long to wait before it, and when it is too late.

use std::future::Future;
use std::time::Duration;

use crate::effect::Fx;
use crate::exit::{Exit, Fail, Result};

/// The most tries beyond the first that a step may ask for.
pub const RETRIES_MAX: u32 = 10;
/// The wait before the second try; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// The longest wait before a try.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The longest `Retry-After` that is waited for; who asks for more is not asked again.
pub const LONGEST_ASKED: Duration = Duration::from_secs(5);

/// Whether another try may succeed: the other system was not reached, broke off, was too slow, or said so itself
/// (502, 503, 504). What the gateway refused is not tried again: the refusal is what protects the other system.
#[must_use]
pub fn may_pass(fail: &Fail) -> bool {
    if fail.refused.is_some() {
        return false;
    }
    match (fail.code, fail.upstream_status.map(|status| status.as_u16())) {
        ("upstream_connect" | "upstream_broken" | "upstream_timeout", _) => true,
        ("upstream_status", Some(status)) => matches!(status, 502..=504),
        _ => false,
    }
}

/// Runs `step`, and up to `more` times again while it fails with what may pass and there is time left. Each wait is
/// between half of its bound and all of it, fixed by the request's trace, or what `Retry-After` asks for. A step whose calls may have changed
/// something is tried again only when it is declared idempotent. Undoing does not leave it at a gate's refusal either.
///
/// # Errors
/// The last try's.
pub async fn retry<T, F: Future<Output = Result<T>>>(fx: &Fx<'_>, more: u32, mut step: impl FnMut() -> F) -> Result<T> {
    for tries in 0..more.min(RETRIES_MAX) {
        match step().await {
            Err(Exit::Fail(fail)) if (may_pass(&fail) || fx.insists_after(&fail)) && fx.may_repeat() => {
                let bound = FIRST_WAIT.saturating_mul(1 << tries).min(LONGEST_WAIT);
                let share = fx.chance(tries);
                let asked = fail.retry_after_s.map_or(Duration::ZERO, |s| Duration::from_secs(u64::from(s)));
                let asked = fail.refused.map_or(asked, |refusal| refusal.retry_after.max(asked));
                let wait = bound.mul_f64(0.5 + share / 2.0).max(asked);
                if wait > LONGEST_ASKED || !fx.has_time_for(wait) || !fx.spend_retry() {
                    return Err(Exit::Fail(fail));
                }
                fx.sleep(wait).await;
                fx.next_try();
            }
            other => return other,
        }
    }
    step().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    use crate::adapter::{EffectError, Refusal};

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let status =
            |code| Fail { upstream_status: StatusCode::from_u16(code).ok(), ..Fail::upstream("upstream_status", "") };
        let refusal = Refusal { reason: "queue_full", retry_after: Duration::from_secs(1) };
        let refused = Fail::from_effect(&EffectError::Refused(refusal));
        for (fail, again) in [
            (Fail::upstream("upstream_connect", ""), true),
            (Fail::timeout("upstream_timeout", ""), true),
            (status(503), true),
            (status(500), false),
            (status(404), false),
            (refused.clone(), false),
            (refused.with_code("upstream_connect"), false),
            (Fail::internal("step_error", ""), false),
            (Fail::timeout("step_timeout", ""), false),
        ] {
            assert_eq!(may_pass(&fail), again, "{fail:?}");
        }
    }
}
