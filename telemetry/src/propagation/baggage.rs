//! `baggage`: what callers want every service of a trace to know. Passed on, and noted where the operator asks for it.
//!
//! Source: W3C Baggage, sections 3.2 and 3.3.

use std::borrow::Cow;

use super::list::{Kept, members};
use crate::percent::decode;

/// Members that go on; further ones do not.
pub const MEMBERS: usize = 180;
/// Bytes that go on in all; a member that finds no room does not.
pub const BYTES: usize = 8_192;

/// The members that go on, of the fields as they came: each sound one as it is, in its place.
pub fn read<'h>(fields: impl IntoIterator<Item = &'h [u8]>) -> Kept {
    let (mut kept, mut count) = (Kept::default(), 0);
    for member in members(fields) {
        let room = kept.text.len() + usize::from(count > 0) + member.len() <= BYTES && count < MEMBERS;
        match std::str::from_utf8(member).ok().filter(|member| room && is_member(member)) {
            Some(member) => {
                if count > 0 {
                    kept.text.push(',');
                }
                kept.text.push_str(member);
                count += 1;
            }
            None => kept.lost = kept.lost.saturating_add(1),
        }
    }
    kept
}

/// The value of the first member of this name in a list that [`read`] gave, decoded. Bytes that are no UTF-8 and control
/// characters read `U+FFFD`.
#[must_use]
pub fn value<'t>(list: &'t str, name: &str) -> Option<Cow<'t, str>> {
    list.split(',').find_map(|member| {
        let (key, value) = member.split(';').next()?.split_once('=')?;
        (key.trim_matches(WHITE) == name).then(|| decoded(value.trim_matches(WHITE)))
    })
}

/// Whether a text may be the name of a member: a token of HTTP.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(token)
}

const WHITE: [char; 2] = [' ', '\t'];

/// `key=value`, and properties after semicolons: each a key, with a value or without.
fn is_member(member: &str) -> bool {
    let octet = |b: u8| (b'!'..=b'~').contains(&b) && !b"\",;\\".contains(&b);
    let pair = |text: &str, bare: bool| match text.split_once('=') {
        Some((key, value)) => is_name(key.trim_matches(WHITE)) && value.trim_matches(WHITE).bytes().all(octet),
        None => bare && is_name(text.trim_matches(WHITE)),
    };
    member.split(';').enumerate().all(|(place, part)| pair(part, place > 0))
}

/// A value as text; what it must not do to whoever shows it is taken out.
fn decoded(value: &str) -> Cow<'_, str> {
    match decode(value) {
        Cow::Owned(text) => Cow::Owned(text.replace(char::is_control, "\u{fffd}")),
        as_sent => as_sent,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(fields: &[&str]) -> (String, u32) {
        let Kept { text, lost } = read(fields.iter().map(|field| field.as_bytes()));
        (text, lost)
    }

    #[test]
    fn sound_members_go_on_and_the_others_do_not() {
        for (fields, expected, lost) in [
            (
                &["userId=alice,serverNode=DF%2028,isProduction=false"][..],
                "userId=alice,serverNode=DF%2028,isProduction=false",
                0,
            ),
            (
                &["key1=value1;property1;property2, key2 = value2", "key3=value3; propertyKey=propertyValue"],
                "key1=value1;property1;property2,key2 = value2,key3=value3; propertyKey=propertyValue",
                0,
            ),
            (&["empty=", "a=b=c"], "empty=,a=b=c", 0),
            (&["no-value, =1, k\u{e4}=1, a=\"b\", b=c d, ok=1, e=\\, f=1;, g=1;=2"], "ok=1", 8),
            (&["", ",,"], "", 0),
        ] {
            assert_eq!(text(fields), (expected.to_owned(), lost), "{fields:?}");
        }
    }

    #[test]
    fn members_beyond_the_bounds_do_not_go_on() {
        let many = (0..200).map(|n| format!("k{n}=1")).collect::<Vec<_>>();
        assert_eq!(text(&[&many.join(",")]), (many[..MEMBERS].join(","), 20));
        let large = format!("big={}", "x".repeat(BYTES));
        assert_eq!(text(&["a=1", &large, "b=2"]), ("a=1,b=2".to_owned(), 1));
        let exact = format!("big={}", "x".repeat(BYTES - 4));
        assert_eq!(text(&[&exact, "b=2"]), (exact.clone(), 1));
    }

    #[test]
    fn values_are_decoded_and_hold_no_control_characters() {
        let list = "user=al%20ice%C3%A4;p=1,odd=%zz%4,evil=a%0A%1b[2Jb,cut=%C3,tenant = shop ;p";
        for (name, expected) in [
            ("user", Some("al iceä")),
            ("odd", Some("%zz%4")),
            ("evil", Some("a\u{fffd}\u{fffd}[2Jb")),
            ("cut", Some("\u{fffd}")),
            ("tenant", Some("shop")),
            ("User", None),
            ("p", None),
        ] {
            assert_eq!(value(list, name).as_deref(), expected, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes, what goes on is sound, in its bounds, and goes on unchanged from there; its values can be read.
        #[test]
        fn what_goes_on_is_sound(fields in prop::collection::vec("[a-z0-9=,;% \"\\\\\\t\u{e4}\\x00]{0,90}", 0..12)) {
            let kept = read(fields.iter().map(|field| field.as_bytes()));
            prop_assert!(kept.text.len() <= BYTES);
            prop_assert!(kept.text.is_empty() || kept.text.split(',').all(is_member));
            prop_assert_eq!(&read([kept.text.as_bytes()]), &Kept { text: kept.text.clone(), lost: 0 });
            for name in ["a", "b", "0"] {
                let found = value(&kept.text, name);
                prop_assert!(found.is_none_or(|value| !value.contains(char::is_control)));
            }
        }

        /// What is cut off the end of a member never makes half a value of it.
        #[test]
        fn members_are_whole_or_gone(sizes in prop::collection::vec(1_usize..2_000, 1..20)) {
            let list: Vec<String> = sizes.iter().enumerate().map(|(n, size)| format!("k{n}={}", "v".repeat(*size))).collect();
            let kept = read([list.join(",").as_bytes()]);
            let found: Vec<&str> = kept.text.split(',').filter(|member| !member.is_empty()).collect();
            prop_assert!(found.iter().all(|member| list.iter().any(|one| one == member)));
            prop_assert_eq!(found.len() + kept.lost as usize, list.len());
        }
    }
}
