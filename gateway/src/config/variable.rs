//! One environment variable that overrides the page: what it is called, takes and does.

use std::time::Duration;

use super::document::Document;

/// One variable that is understood.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it takes, in words.
    pub takes: &'static str,
    /// Its default, in words.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Whether its value is shown as `***`.
    pub secret: bool,
    /// Puts its value into the page, or says why it is unfit.
    pub(super) set: fn(&mut Document, &str) -> Result<(), String>,
}

pub(super) const fn variable(
    name: &'static str,
    takes: &'static str,
    default: &'static str,
    about: &'static str,
    set: fn(&mut Document, &str) -> Result<(), String>,
) -> Variable {
    Variable { name, takes, default, about, secret: false, set }
}

impl Variable {
    /// The same, shown as `***`.
    pub(super) const fn hidden(self) -> Self {
        Self { secret: true, ..self }
    }
}

pub(super) fn millis(text: &str) -> Result<Duration, String> {
    let ms: f64 = text.parse().map_err(|_| "is no number of milliseconds".to_owned())?;
    Duration::try_from_secs_f64(ms / 1000.0).map_err(|_| "is no number of milliseconds".to_owned())
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" | "" => Ok(false),
        _ => Err("is neither 0 nor 1".to_owned()),
    }
}

/// A whole number of things of which there must be one at least.
pub(super) fn some(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("is no whole number".to_owned()),
    }
}

/// A whole number.
pub(super) fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "is no whole number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!(millis("2.5"), Ok(Duration::from_micros(2500)));
        assert_eq!((yes_or_no("TRUE"), yes_or_no(""), yes_or_no("off")), (Ok(true), Ok(false), Ok(false)));
        assert_eq!((some("3"), number("0")), (Ok(3), Ok(0)));
        for (unfit, what) in
            [(millis("soon").is_err(), "soon"), (some("0").is_err(), "0"), (number("-1").is_err(), "-1")]
        {
            assert!(unfit, "{what} was taken");
        }
    }
}
