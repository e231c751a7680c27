//! How numbers are written on screens and in reports: milliseconds, counts, shares, clock times.

/// A latency for a dense column: three significant digits, always in milliseconds.
pub(crate) fn ms(value: f64) -> String {
    if !value.is_finite() {
        "–".into()
    } else if value.abs() < 9.95 {
        format!("{value:.1}")
    } else if value >= 9_999_500.0 {
        // Nothing that long is worth its digits; the column keeps its width.
        ">3h".into()
    } else if value.abs() < 9_999.5 {
        format!("{value:.0}")
    } else {
        format!("{:.0}k", value / 1e3)
    }
}

/// Milliseconds with one decimal, for columns that must add up.
pub(crate) fn ms_exact(value: f64) -> String {
    if value.is_finite() { format!("{value:.1}") } else { "–".into() }
}

/// Milliseconds with one decimal and their sign.
pub(crate) fn ms_signed(value: f64) -> String {
    if !value.is_finite() {
        "–".into()
    } else if value.abs() < 0.05 {
        "0.0".into()
    } else {
        format!("{value:+.1}")
    }
}

/// Nanoseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
pub(crate) fn ns_to_ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// A count in full: `48,112`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count or rate in at most five characters: `310`, `4.1k`, `98.1k`, `2.0M`.
pub(crate) fn short(value: f64) -> String {
    match value {
        v if !v.is_finite() => "–".into(),
        v if v < 9.95 && v.fract() != 0.0 => format!("{v:.1}"),
        v if v < 999.5 => format!("{v:.0}"),
        v if v < 99_950.0 => format!("{:.1}k", v / 1e3),
        v if v < 999_500.0 => format!("{:.0}k", v / 1e3),
        v if v < 999_500_000.0 => format!("{:.0}M", v / 1e6),
        _ => ">1G".into(),
    }
}

/// A share of one as whole per cent: `68%`.
pub(crate) fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "–".into();
    }
    let whole = (share * 100.0).round();
    // Not `-0%`.
    format!("{:.0}%", if whole == 0.0 { 0.0 } else { whole })
}

/// The time of day (UTC) of a wall-clock moment: `14:03:22.118`.
pub(crate) fn time_of_day(unix_ns: u64) -> String {
    let millis = unix_ns / 1_000_000;
    let (s, ms) = ((millis / 1000) % 86_400, millis % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, (s / 60) % 60, s % 60)
}

/// A span of time in words short enough for a status line: `3.2 s`, `250 ms`.
pub(crate) fn span(ns: u64) -> String {
    let ms = ns_to_ms(ns);
    if ms >= 1000.0 { format!("{:.1} s", ms / 1e3) } else { format!("{ms:.0} ms") }
}

/// A trace id short enough to recognise: `7f3a…c1`.
pub(crate) fn short_id(id: &str) -> String {
    match (id.get(..4), id.len().checked_sub(2).and_then(|at| id.get(at..))) {
        (Some(head), Some(tail)) if id.len() > 8 => format!("{head}…{tail}"),
        _ => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_columns() {
        assert_eq!([ms(0.04), ms(4.12), ms(9.97), ms(143.4), ms(1910.0)], ["0.0", "4.1", "10", "143", "1910"]);
        assert_eq!([ms(f64::NAN), ms(1e13), short(1e13)], ["–", ">3h", ">1G"]);
        assert_eq!([count(7), count(1_204), count(1_048_112)], ["7", "1,204", "1,048,112"]);
        assert_eq!(
            [short(0.0), short(0.4), short(310.0), short(4_100.0), short(2e6), short(3.0)],
            ["0", "0.4", "310", "4.1k", "2M", "3"]
        );
        assert_eq!([ms_signed(92.7), ms_signed(-1.3), ms_signed(0.01)], ["+92.7", "-1.3", "0.0"]);
        assert_eq!([percent(0.676), percent(-0.001), percent(-0.01)], ["68%", "0%", "-1%"]);
        assert_eq!(time_of_day(50_602_118_000_000), "14:03:22.118");
        assert_eq!([short_id("7f3a000000000000000000000000bbc1"), short_id("ab")], ["7f3a…c1", "ab"]);
        assert_eq!([span(250_000_000), span(3_200_000_000)], ["250 ms", "3.2 s"]);
    }
}
