//! When something stops being of use: arithmetic on moments, which are raw ticks of a clock.

use std::time::Duration;

use zerver_telemetry::clock::Ticks;

/// The earlier of two moments, where none means never.
#[must_use]
pub fn earlier(a: Option<Ticks>, b: Option<Ticks>) -> Option<Ticks> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Reads a duration as the attributes and the configuration write it: `300ms`, `2s`, `1.5s`, `2m`, `1h`. None when it
/// is not one, or longer than a day.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let number: f64 = number.trim_end().parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return None,
    };
    (seconds <= 86_400.0).then(|| Duration::from_nanos((seconds * 1e9).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, ms) in [
            ("300ms", Some(300)),
            ("2s", Some(2000)),
            ("1.5s", Some(1500)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
        ] {
            assert_eq!(parse(text).map(|d| d.as_millis()), ms);
        }
        for bad in ["", "300", "ms", "-1s", "2 days", "25h", "nans"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
