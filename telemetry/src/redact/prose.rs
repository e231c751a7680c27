//! Secrets inside a text that is meant for people: an error's detail, a log message, a user agent.

use std::borrow::Cow;

use super::secret::looks_secret;

/// Replaces, with `mask`, what stands behind a hidden name (`token=…`, `password: …`, `"secret":"…"`), behind `Bearer` or
/// `Basic`, and every word that looks like a secret. `tell` is told each of them.
pub(super) fn prose<'t>(
    text: &'t str,
    mask: &str,
    hides: impl Fn(&str) -> bool,
    tell: &mut dyn FnMut(&str),
) -> Cow<'t, str> {
    let mut out: Option<String> = None;
    // Where what was copied ends, where to go on, and whether the next word is a value that must not be shown.
    let (mut copied, mut at, mut hidden) = (0, 0, false);
    while let Some((from, to)) = word(text, at) {
        let scheme = (5..=6).contains(&(to - from))
            && ["bearer", "basic", "digest"].iter().any(|scheme| text[from..to].eq_ignore_ascii_case(scheme));
        // A value of base64 has slashes and equals signs of its own.
        let to = if hidden && !scheme { from + text[from..].find(ends_value).unwrap_or(text.len() - from) } else { to };
        let found = &text[from..to];
        if hidden || looks_secret(found) {
            let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
            out.push_str(&text[copied..from]);
            out.push_str(mask);
            copied = to;
            tell(found);
        }
        // What comes between this word and the next says whether that is this one's value.
        let assigned = text[to..].bytes().take_while(|b| is_between(*b)).any(|b| b == b'=' || b == b':');
        hidden = scheme || (assigned && (hidden || hides(found)));
        at = to;
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.push_str(&text[copied..]);
            Cow::Owned(out)
        }
    }
}

fn ends_value(c: char) -> bool {
    c.is_whitespace() || "\"'`,;&)}]>|".contains(c)
}

fn is_between(byte: u8) -> bool {
    matches!(byte, b'=' | b':' | b'"' | b'\'' | b'`') || byte.is_ascii_whitespace()
}

/// What separates words, a bit for each ASCII character.
const SEPARATORS: u128 = {
    let (bytes, mut mask, mut n) = (b"\t\n\x0b\x0c\r=:&?;,\"'`()[]{}<>|/\\", 0, 0);
    while n < bytes.len() {
        mask |= 1 << bytes[n];
        n += 1;
    }
    mask
};

/// The next word from `at` on, by its place: what stands between separators. Numbers in groups, as card numbers are
/// written, stay one word.
fn word(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let separates = |at: usize| match bytes[at] {
        b' ' => !(digit(at.checked_sub(1)) && digit(Some(at + 1))),
        byte => byte < 128 && SEPARATORS & (1 << byte) != 0,
    };
    // Separators are ASCII, so both ends are at characters.
    let from = (at..bytes.len()).find(|at| !separates(*at))?;
    Some((from, (from..bytes.len()).find(|at| separates(*at)).unwrap_or(bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::super::secret::is_secret_name;
    use super::*;

    #[test]
    fn values_behind_hidden_names_are_masked_and_the_rest_stays() {
        for (text, expected) in [
            ("connect to 10.0.0.1:80 refused", "connect to 10.0.0.1:80 refused"),
            ("GET /a?token=abc&x=1 failed", "GET /a?token=*&x=1 failed"),
            ("password: hunter2, user: ada", "password: *, user: ada"),
            (r#"{"secret":"s3","n":1}"#, r#"{"secret":"*","n":1}"#),
            ("Authorization: Bearer abc.def", "Authorization: * *"),
            ("cookie: sid=abc, lang=de", "cookie: *, lang=de"),
            ("secret=a/b+c== end", "secret=* end"),
            ("sent Basic dXNlcjpwYXNz to it", "sent Basic * to it"),
            ("card 4111 1111 1111 1111 declined", "card * declined"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.x ended", "jwt * ended"),
            ("the token was refused", "the token was refused"),
            ("späte Änderung: ü=1", "späte Änderung: ü=1"),
            ("", ""),
        ] {
            assert_eq!(prose(text, "*", is_secret_name, &mut |_| {}), expected);
        }
    }
}
