//! Moments as they stand in log lines: RFC 3339 and the common log format, both in UTC.

use std::fmt;

/// Nanoseconds since the Unix epoch, printed as `2026-11-22T22:28:36.123456Z` (RFC 3339, microseconds).
#[derive(Clone, Copy, Debug)]
pub(super) struct Rfc3339(pub(super) u64);

/// The same as `22/Nov/2026:22:28:36 +0000`, as the common log format has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clf(pub(super) u64);

/// Year, month, day, hour, minute, second.
fn civil(unix_ns: u64) -> (u64, u64, u64, u64, u64, u64) {
    let seconds = unix_ns / 1_000_000_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to a date of the Gregorian calendar, counted in eras of 400 years that begin in March (H. Hinnant,
    // "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day, rest / 3_600, rest / 60 % 60, rest % 60)
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = civil(self.0);
        let micros = self.0 / 1_000 % 1_000_000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

impl fmt::Display for Clf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (year, month, day, hour, minute, second) = civil(self.0);
        let month = MONTHS[(month as usize).clamp(1, 12) - 1];
        write!(f, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_printed_in_utc() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.123456Z"),
            (951_782_399, "2000-02-28T23:59:59.123456Z"),
            (951_782_400, "2000-02-29T00:00:00.123456Z"),
            (1_767_225_599, "2025-12-31T23:59:59.123456Z"),
            (1_795_386_516, "2026-11-22T22:28:36.123456Z"),
            (4_107_542_400, "2100-03-01T00:00:00.123456Z"),
        ] {
            assert_eq!(Rfc3339(seconds * 1_000_000_000 + 123_456_789).to_string(), expected);
        }
        assert_eq!(Clf(1_795_386_516_000_000_000).to_string(), "22/Nov/2026:22:28:36 +0000");
        assert_eq!(Clf(951_782_400_000_000_000).to_string(), "29/Feb/2000:00:00:00 +0000");
    }
}
