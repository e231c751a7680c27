//! Rate limits with the clock wound by hand.

use super::*;

fn limit(text: serde_json::Value) -> (RateLimit, Clock) {
    let clock = Clock::manual();
    let settings = serde_json::from_value(text).expect("the test's settings are right");
    (RateLimit::new(settings, clock.clone()).expect("the test's limit is right"), clock)
}

fn ten_per_second() -> (RateLimit, Clock) {
    limit(serde_json::json!({"name": "api", "requests": 10, "window": "1s", "burst": 3}))
}

#[test]
fn a_burst_then_the_rate() {
    let (limit, clock) = ten_per_second();
    let remaining: Vec<u32> = (0..3).map(|_| limit.check(b"a").remaining).collect();
    assert_eq!(remaining, [2, 1, 0]);
    let refused = limit.check(b"a");
    assert_eq!(refused, Decision { allowed: false, remaining: 0, reset: Duration::from_millis(100) });
    assert_eq!(refused.retry_after_field().as_deref(), Some("1"));
    assert_eq!(limit.limit_field(refused), r#""api";r=0;t=1"#);
    assert_eq!(limit.policy_field(), r#""api";q=10;w=1"#);
    // Refusals use nothing up.
    for _ in 0..100 {
        assert!(!limit.check(b"a").allowed);
    }
    clock.advance(Duration::from_millis(99));
    assert!(!limit.check(b"a").allowed);
    clock.advance(Duration::from_millis(1));
    let allowed = limit.check(b"a");
    assert!(allowed.allowed);
    assert_eq!(allowed.retry_after_field(), None);
    assert!(!limit.check(b"a").allowed);
}

#[test]
fn over_any_span_no_more_than_burst_and_rate_are_let_through() {
    let (limit, clock) = ten_per_second();
    let mut allowed = 0;
    for _ in 0..10_000 {
        allowed += u32::from(limit.check(b"a").allowed);
        clock.advance(Duration::from_millis(1));
    }
    assert_eq!(allowed, 3 + 10 * 10 - 1);
}

#[test]
fn keys_do_not_share_a_quota() {
    let (limit, _) = ten_per_second();
    for key in [b"a", b"b", b"c"] {
        assert!((0..3).all(|_| limit.check(key).allowed));
        assert!(!limit.check(key).allowed);
    }
    assert_eq!(limit.state().keys, 3);
}

#[test]
fn whole_quotas_are_forgotten_and_used_ones_kept() {
    let (limit, clock) = ten_per_second();
    for key in 0..1_000_u32 {
        assert!(limit.check(&key.to_be_bytes()).allowed);
    }
    clock.advance(Duration::from_millis(90));
    while limit.check(b"busy").allowed {}
    clock.advance(Duration::from_millis(20));
    limit.retain_recent();
    assert_eq!(limit.state().keys, 1);
    assert_eq!(limit.check(b"busy").remaining, 0);
    assert_eq!(limit.state().keys_forgotten_total, 0);
}

#[test]
fn a_flood_of_names_stays_bounded_and_does_not_free_the_heavy_user() {
    let (limit, _) = limit(serde_json::json!({"name": "api", "requests": 10, "window": "1m", "keys_max": 500}));
    while limit.check(b"heavy").allowed {}
    for key in 0..20_000_u32 {
        assert!(limit.check(&key.to_be_bytes()).allowed);
    }
    let state = limit.state();
    assert!(state.keys <= 500, "{state:?}");
    assert!(state.keys_forgotten_total >= 19_000, "{state:?}");
    assert!(!limit.check(b"heavy").allowed);
}

#[test]
fn settings_that_cannot_be_are_refused_with_the_reason() {
    let check = |text: serde_json::Value, words: &str| {
        let error = match serde_json::from_value::<RateSettings>(text) {
            Err(error) => error.to_string(),
            Ok(settings) => RateLimit::new(settings, Clock::manual()).expect_err(words).to_string(),
        };
        assert!(error.contains(words), "{error}");
    };
    check(serde_json::json!({"name": "", "requests": 1, "window": "1s"}), "is empty or not printable ASCII");
    check(serde_json::json!({"name": "ä", "requests": 1, "window": "1s"}), "not printable ASCII");
    check(serde_json::json!({"name": "a", "requests": 1, "window": "0"}), "less than a nanosecond");
    check(serde_json::json!({"name": "a", "requests": 0, "window": "1s"}), "nonzero");
    check(serde_json::json!({"name": "a", "requests": 1, "window": "1"}), "has no unit after 1");
    check(serde_json::json!({"name": "a", "requests": 1, "window": "1s", "per": "ip"}), "unknown field `per`");
    check(
        serde_json::json!({"name": "a", "requests": 1, "window": "1s", "key": {"tenant_header": "a b"}}),
        "\"a b\" is no header name",
    );
}
