//! The header fields of a rate limit as text: draft-ietf-httpapi-ratelimit-headers-10 in structured fields (RFC 9651).

use std::fmt::Write;
use std::time::Duration;

/// `"name";q=100;w=60`: the quota and its window.
pub(super) fn policy(name: &str, requests: u32, window: Duration) -> String {
    let mut out = string(name);
    // Writing to a string cannot fail.
    let _ = write!(out, ";q={requests};w={}", whole_seconds(window).max(1));
    out
}

/// `"name";r=50;t=30`: what is left, and when there is more.
pub(super) fn limit(name: &str, remaining: u32, reset: Duration) -> String {
    let mut out = string(name);
    let _ = write!(out, ";r={remaining};t={}", whole_seconds(reset));
    out
}

/// Seconds, rounded up: both fields know no fractions, and an early retry would be refused again.
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A String of RFC 9651, section 3.3.3. The text is printable ASCII: settings with any other name are refused.
fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 24);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_structured_fields() {
        let minute = Duration::from_secs(60);
        assert_eq!(policy("default", 100, minute), r#""default";q=100;w=60"#);
        assert_eq!(policy("odd \"name\" \\", 5, Duration::from_millis(200)), r#""odd \"name\" \\";q=5;w=1"#);
        assert_eq!(limit("default", 50, Duration::from_millis(29_001)), r#""default";r=50;t=30"#);
        assert_eq!(limit("default", 100, Duration::ZERO), r#""default";r=100;t=0"#);
    }

    #[test]
    fn seconds_round_up() {
        for (millis, seconds) in [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
