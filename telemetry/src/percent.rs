//! Percent-encoding undone (RFC 3986, section 2.1), as everybody here reads it: forgiving, and never a panic.

use std::borrow::Cow;

/// Undoes percent-encoding; what is no encoding stays, bytes that are not UTF-8 are replaced. Allocates only when there is
/// something to undo.
#[must_use]
pub fn decode(text: &str) -> Cow<'_, str> {
    undo(text, false)
}

/// The same for queries as HTML forms write them: `+` is a blank.
#[must_use]
pub fn decode_form(text: &str) -> Cow<'_, str> {
    undo(text, true)
}

fn undo(text: &str, is_form: bool) -> Cow<'_, str> {
    if !(text.contains('%') || is_form && text.contains('+')) {
        return Cow::Borrowed(text);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [byte, after @ ..] = rest {
        let digit = |place: usize| after.get(place).and_then(|digit| char::from(*digit).to_digit(16));
        let (one, left) = match (*byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => ((high * 16 + low) as u8, &after[2..]),
            (b'+', ..) if is_form => (b' ', after),
            (byte, ..) => (byte, after),
        };
        bytes.push(one);
        rest = left;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_encoding_stays() {
        for (text, plain, form) in [
            ("a%20b+c", "a b+c", "a b c"),
            ("100%", "100%", "100%"),
            ("%zz%41%+1", "%zzA%+1", "%zzA% 1"),
            ("%C3%BC%ff", "ü\u{fffd}", "ü\u{fffd}"),
            ("", "", ""),
        ] {
            assert_eq!((&*decode(text), &*decode_form(text)), (plain, form), "{text}");
        }
        assert!(matches!(decode("a+b"), Cow::Borrowed(_)), "nothing to undo");
    }
}
