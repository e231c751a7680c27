//! `tracestate`: what tracing vendors note along a trace. Ours passes on what it gets; to a trace that begins here it adds
//! with what chance it was sampled.
//!
//! Sources: W3C Trace Context, level 2, sections 3.3 and 3.5; OpenTelemetry specification 1.50, "TraceState handling".

use super::list::{Kept, members};

/// Members that a list may have; a longer one is malformed.
pub const MEMBERS: usize = 32;
/// Bytes that go on; of a longer list whole members are left out.
pub const BYTES: usize = 512;
/// Members longer than this are left out first.
pub const LONG: usize = 128;

/// The key of OpenTelemetry's own member.
pub const OPENTELEMETRY: &str = "ot";
/// The attribute of a request under which what went out is noted, for its spans.
pub const NOTED: &str = "zerver.tracestate";

/// The list with this member in front, in place of one that it has by the same key; within the bounds, so of a full list the
/// last are left out. A member that is malformed is not put there.
#[must_use]
pub fn put(list: &str, key: &str, value: &str) -> String {
    let mut with = format!("{key}={value}");
    if !is_member(&with) {
        return list.to_owned();
    }
    let others = list.split(',').filter(|member| !member.is_empty());
    let others = others.filter(|member| member.split_once('=').is_none_or(|(other, _)| other != key));
    for member in others.take(MEMBERS - 1) {
        if with.len() + 1 + member.len() > BYTES {
            break;
        }
        with.push(',');
        with.push_str(member);
    }
    with
}

/// The list that goes on, of the fields as they came. One malformed member, or too many, and none goes on; of a list that is
/// too long, members of more than [`LONG`] bytes go first, then those at the end, since new ones are put in front.
pub fn read<'h>(fields: impl IntoIterator<Item = &'h [u8]>) -> Kept {
    let mut kept: Vec<&str> = Vec::new();
    let (mut all, mut bytes, mut sound) = (0_u32, 0, true);
    for member in members(fields) {
        all = all.saturating_add(1);
        match std::str::from_utf8(member).ok().filter(|member| is_member(member)) {
            Some(member) if sound && kept.len() < MEMBERS => {
                bytes += member.len() + usize::from(!kept.is_empty());
                kept.push(member);
            }
            _ => sound = false,
        }
    }
    if !sound {
        return Kept { text: String::new(), lost: all };
    }
    while bytes > BYTES {
        let long = kept.iter().rposition(|member| member.len() > LONG);
        let Some(at) = long.or_else(|| kept.len().checked_sub(1)) else { break };
        bytes = bytes.saturating_sub(kept.remove(at).len() + 1);
    }
    Kept { lost: all - kept.len() as u32, text: kept.join(",") }
}

/// `key=value`, as level 2 spells them.
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let in_key = |b: u8| lower(b) || b"_-*/@".contains(&b);
    let in_value = |b: u8| (b' '..=b'~').contains(&b) && b != b',' && b != b'=';
    (1..=256).contains(&key.len())
        && key.bytes().next().is_some_and(lower)
        && key.bytes().all(in_key)
        && (1..=256).contains(&value.len())
        && value.bytes().all(in_value)
        && !value.ends_with(' ')
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
    fn sound_lists_go_on_as_they_are() {
        for (fields, expected) in [
            (&["congo=t61rcWkgMzE"][..], "congo=t61rcWkgMzE"),
            (&["foo=1,bar=2", "rojo=00f067aa0ba902b7"], "foo=1,bar=2,rojo=00f067aa0ba902b7"),
            (&["foo=1 \t , \t bar=2, \t"], "foo=1,bar=2"),
            (&["foo=1,,,bar=2,"], "foo=1,bar=2"),
            (&["0tenant@vendor=a b", "a*/_-=~!"], "0tenant@vendor=a b,a*/_-=~!"),
            // A key that stands twice is for the vendor to sort out.
            (&["foo=1,foo=2"], "foo=1,foo=2"),
            (&["", " "], ""),
        ] {
            assert_eq!(text(fields), (expected.to_owned(), 0));
        }
    }

    #[test]
    fn one_malformed_member_ends_the_list() {
        let long = format!("{}=1", "a".repeat(257));
        let many = (0..33).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        for bad in ["foo", "foo=", "=1", "Foo=1", "fo o=1", "foo=1=2", "foo=\u{e4}", "@foo=1", "foo =1", &long, &many] {
            let (kept, lost) = text(&["ok=1", bad]);
            assert_eq!((kept.as_str(), lost as usize), ("", 1 + bad.split(',').count()), "{bad}");
        }
        assert_eq!(read([&b"foo=\xff"[..]]), Kept { text: String::new(), lost: 1 });
    }

    #[test]
    fn of_a_long_list_the_long_and_the_last_are_left_out() {
        let long = format!("long={}", "x".repeat(200));
        let short: Vec<String> = (0..8).map(|n| format!("key{n}={}", "y".repeat(55))).collect();
        let (kept, lost) = text(&[&short[0], &long, &short[1..].join(",")]);
        assert_eq!((kept, lost), (short.join(","), 1));
        let more: Vec<String> = (0..10).map(|n| format!("key{n}={}", "y".repeat(55))).collect();
        assert_eq!(text(&[&more.join(",")]), (more[..8].join(","), 2));
    }

    #[test]
    fn a_member_is_put_in_front_of_the_others_and_in_place_of_its_own() {
        for (list, expected) in [
            ("", "ot=th:8"),
            ("congo=t61,rojo=0", "ot=th:8,congo=t61,rojo=0"),
            ("congo=t61,ot=th:0;rv:1,rojo=0", "ot=th:8,congo=t61,rojo=0"),
            ("otel=1", "ot=th:8,otel=1"),
        ] {
            assert_eq!(put(list, OPENTELEMETRY, "th:8"), expected);
        }
        assert_eq!(put("a=1", OPENTELEMETRY, "th:8,b=2"), "a=1");
        let full: Vec<String> = (0..MEMBERS).map(|n| format!("k{n}={}", "v".repeat(11))).collect();
        let with = put(&full.join(","), OPENTELEMETRY, "th:8");
        assert!(with.len() <= BYTES && with.split(',').count() <= MEMBERS, "{with}");
        assert_eq!(text(&[&with]), (with.clone(), 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes, what goes on is sound, in its bounds, and goes on unchanged from there.
        #[test]
        fn what_goes_on_is_sound(fields in prop::collection::vec("[a-z0-9=,@ \\t\u{e4}\\x00-]{0,80}", 0..12)) {
            let kept = read(fields.iter().map(|field| field.as_bytes()));
            prop_assert!(kept.text.len() <= BYTES);
            prop_assert!(kept.text.is_empty() || kept.text.split(',').all(is_member));
            prop_assert_eq!(&read([kept.text.as_bytes()]), &Kept { text: kept.text.clone(), lost: 0 });
        }

        #[test]
        fn a_sound_list_in_its_bounds_is_not_touched(list in prop::collection::vec("[a-z][a-z0-9@]{0,6}=[!-+.-<>-~]{1,6}", 1..=32)) {
            let text = list.join(",");
            prop_assert_eq!(read([text.as_bytes()]), Kept { text: text.clone(), lost: 0 });
        }
    }
}
