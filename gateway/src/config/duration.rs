//! Durations as people write them: `50ms`, `2s`, `1m30s`.
//!
//! Use it on a field with `#[serde(with = "crate::config::duration")]` and
//! `#[schemars(schema_with = "crate::config::duration::schema")]`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was written.
    #[error("the duration is empty; write a number and a unit, such as 50ms or 2s")]
    Empty,
    /// A unit stands without its number.
    #[error("`{text}` has no number before `{rest}`; write a number and a unit, such as 50ms or 2s")]
    NoNumber {
        /// The whole text.
        text: String,
        /// Where the number should have been.
        rest: String,
    },
    /// A number stands without its unit.
    #[error("`{text}` has no unit after {number}; the units are us, ms, s, m, h and d, so {number}ms or {number}s")]
    NoUnit {
        /// The whole text.
        text: String,
        /// The number without a unit.
        number: String,
    },
    /// The unit is not one of ours.
    #[error("`{unit}` in `{text}` is no unit of time; the units are us, ms, s, m, h and d")]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit as written.
        unit: String,
    },
    /// More than a program can count.
    #[error("`{text}` is longer than a gateway will live; the longest duration is 36500d")]
    TooLong {
        /// The whole text.
        text: String,
    },
}

/// The longest duration that can be written: a hundred years. It keeps sums of durations far from overflow.
const LONGEST: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);

/// Reads a duration: numbers with a unit (`us`, `ms`, `s`, `m`, `h`, `d`), added up; `1.5s` and `1m30s` are fine, a bare
/// `0` is too.
///
/// # Errors
/// [`DurationError`] says which part is wrong and what would be right.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let whole = text.trim();
    match whole {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let too_long = || DurationError::TooLong { text: whole.to_owned() };
    let mut rest = whole;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let value: f64 =
            number.parse().map_err(|_| DurationError::NoNumber { text: whole.to_owned(), rest: rest.to_owned() })?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let seconds = match unit.trim() {
            "" => return Err(DurationError::NoUnit { text: whole.to_owned(), number: number.to_owned() }),
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            other => return Err(DurationError::UnknownUnit { text: whole.to_owned(), unit: other.to_owned() }),
        };
        let part = Duration::try_from_secs_f64(value * seconds).map_err(|_| too_long())?;
        sum = sum.checked_add(part).filter(|sum| *sum <= LONGEST).ok_or_else(too_long)?;
        rest = next;
    }
    Ok(sum)
}

/// Writes a duration in its largest whole unit: `1500ms`, `2s`, `5m`.
#[must_use]
pub fn render(duration: Duration) -> Cow<'static, str> {
    let micros = duration.as_micros();
    if micros == 0 {
        return Cow::Borrowed("0s");
    }
    let units = [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")];
    let (size, unit) = units.into_iter().find(|(size, _)| micros.is_multiple_of(*size)).unwrap_or((1, "us"));
    Cow::Owned(format!("{}{unit}", micros / size))
}

/// For `#[serde(with = …)]`.
///
/// # Errors
/// Only the serializer's own.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&render(*duration))
}

/// For `#[serde(with = …)]`.
///
/// # Errors
/// The words of [`DurationError`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a duration such as 50ms, 2s or 1m30s")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text)
}

/// The shape of a duration in the settings' JSON schema, for `#[schemars(schema_with = …)]`.
#[must_use]
pub fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": r"^\s*(0|([0-9]*\.?[0-9]+\s*(us|µs|ms|s|m|h|d)\s*)+)\s*$",
        "examples": ["50ms", "2s", "1m30s"]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, micros) in [
            ("50ms", 50_000),
            ("2s", 2_000_000),
            (" 1.5s ", 1_500_000),
            ("1m30s", 90_000_000),
            ("1m 30s", 90_000_000),
            ("250us", 250),
            ("1h", 3_600_000_000),
            ("0", 0),
            ("0s", 0),
            ("1d", 86_400_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, words) in [
            ("", "the duration is empty"),
            ("ms", "has no number before `ms`"),
            ("50", "has no unit after 50; the units are us, ms, s, m, h and d, so 50ms or 50s"),
            ("5 parsecs", "`parsecs` in `5 parsecs` is no unit of time"),
            ("-5s", "has no number before `-5s`"),
            ("1.2.3s", "has no number before `1.2.3s`"),
            ("99999999999d", "the longest duration is 36500d"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for (micros, text) in [
            (0, "0s"),
            (250, "250us"),
            (1_500_000, "1500ms"),
            (2_000_000, "2s"),
            (300_000_000, "5m"),
            (86_400_000_000, "1d"),
        ] {
            let duration = Duration::from_micros(micros);
            assert_eq!(render(duration), text);
            assert_eq!(parse(text), Ok(duration));
        }
    }
}
