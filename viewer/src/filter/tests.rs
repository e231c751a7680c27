//! The filter language against one known request, and against any text.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::term::Pattern;
use super::*;
use crate::sample::sample;

fn row() -> Row {
    // 8 ms: queued 4 (permit), waiting 2 (io), running 2, all at `price`; tenant=acme, bytes=512.
    Row::new(Arc::new(sample(9, "quote", 8.0, 503)))
}

fn around() -> Surroundings {
    Surroundings {
        percentiles: HashMap::from([(Arc::from("quote"), [4.0, 8.0, 9.0])]),
        newest_unix_ns: 1_000_000_000 + 9_000_000 + 60_000_000_000,
    }
}

#[test]
fn terms_match_what_they_say() {
    for (text, expected) in [
        ("", true),
        ("   ", true),
        ("quote", true),
        ("QUO", true),
        ("acme", true),
        ("nothing", false),
        ("-nothing", true),
        ("not nothing", true),
        ("route:quote", true),
        ("route:order|quote", true),
        ("route:q*e", true),
        ("route!=quote", false),
        ("route~uot", true),
        ("status:503", true),
        ("status:5xx", true),
        ("status:4xx|2xx", false),
        ("status>=500", true),
        ("status:500..599", true),
        ("status:>503", false),
        ("lat:>7ms", true),
        ("lat>8ms", false),
        ("lat:5ms..10ms", true),
        ("lat:..5ms", false),
        ("lat<=8", true),
        ("lat!=1ms..9ms", false),
        ("outcome:error", true),
        ("outcome:ok", false),
        ("error:timeout", false),
        ("tenant:acme", true),
        ("tenant=globex", false),
        ("tenant!=globex", true),
        ("missing!=x", true),
        ("missing:x", false),
        ("bytes>500", true),
        ("bytes:100..200", false),
        ("bytes:512", true),
        ("has:price", true),
        ("has:price#2", false),
        ("queue@price>3ms", true),
        ("queue@price>4ms", false),
        ("permit@pri*:4ms", true),
        ("io@*>=2ms", true),
        ("run@render>0", false),
        ("path@price", true),
        ("path@stock", false),
        ("slow:p95", true),
        ("slow:p99", false),
        ("since:2m", true),
        ("since:30s", false),
        ("route:quote lat:>7ms -status:404", true),
        ("route:order or tenant:acme", true),
        ("route:order or (tenant:acme and lat<1ms)", false),
        ("-(route:order or route:cart)", true),
        ("tenant:\"acme\"", true),
        ("\"a:b\"", false),
        ("trace:*0a", true),
        ("config:1", true),
    ] {
        let filter = Filter::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(filter.matches(&row(), &around()), expected, "{text}");
    }
    assert!(Filter::parse(" ").unwrap().is_empty());
}

#[test]
fn errors_point_at_the_spot() {
    for (text, spot, words) in [
        ("lat:>abc", "abc", "duration"),
        ("route:quote lat:", "lat:", "missing after"),
        (":5", ":5", "missing before"),
        ("foo@price>1ms", "foo", "no state"),
        ("(route:a", "(", "not closed"),
        ("route:a)", ")", "no `("),
        ("\"open", "\"open", "quote"),
        ("a or", "or", "both sides"),
        ("or a", "or", "both sides"),
        ("status:abc", "abc", "no status"),
        ("lat:9ms..2ms", "9ms..2ms", "upside down"),
        ("slow:p42", "p42", "p50"),
        ("route>5", "5", "text"),
        ("path@a:5", "path@a:5", "no value"),
    ] {
        let error = Filter::parse(text).expect_err(text);
        assert!(error.message.contains(words), "{text}: {}", error.message);
        let at = error.at;
        if text != "lat:>abc" {
            assert_eq!(&text[at], spot, "{text}");
        } else {
            assert!(text[at].contains(spot));
        }
    }
}

#[test]
fn nesting_is_bounded() {
    assert!(Filter::parse(&"(".repeat(10_000)).is_err());
    assert!(Filter::parse(&"-".repeat(10_000)).is_err() || Filter::parse("- x").is_ok());
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-z@:()|.\"<>=!~* é*0-9-]{0,40}") {
        match Filter::parse(&text) {
            Ok(filter) => {
                filter.matches(&row(), &around());
            }
            Err(error) => {
                prop_assert!(text.get(error.at.clone()).is_some(), "{text:?} {:?}", error.at);
            }
        }
    }

    #[test]
    fn patterns_without_stars_are_equality(a in "[ab]{0,4}", b in "[ab]{0,4}") {
        prop_assert_eq!(Pattern::new(&a).fits(&b), a == b);
        let (starred, around) = (format!("*{a}*"), format!("{b}{a}{b}"));
        let fits = Pattern::new(&starred).fits(&around);
        prop_assert!(fits);
    }
}

#[test]
fn a_route_name_with_blanks_is_quoted() {
    assert_eq!(
        [quoted("a-b/c.d_e"), quoted("a b"), quoted("a\"b"), quoted("")],
        ["a-b/c.d_e", "\"a b\"", "\"a*b\"", "\"\""]
    );
}
