//! The rules as a whole: what is shown of headers, queries, paths, addresses, texts and JSON values.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn rules(path: &[&str], query: &[&str], fields: &[&str], show: &[&str]) -> Redaction {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let rules =
        Rules { path: list(path), query: list(query), fields: list(fields), show: list(show), ..Rules::default() };
    Redaction::new(&rules).expect("the rules are sound")
}

#[test]
fn query_values_are_replaced_and_keys_stay() {
    let redaction = rules(&[], &["e*mail"], &[], &["token_type"]);
    for (query, expected) in [
        ("", ""),
        ("q=OpenTelemetry&sig=abc", "q=OpenTelemetry&sig=REDACTED"),
        (
            "AWSAccessKeyId=a&Signature=b&X-Goog-Signature=c&sig=d",
            "AWSAccessKeyId=REDACTED&Signature=REDACTED&X-Goog-Signature=REDACTED&sig=REDACTED",
        ),
        ("access_token=a&token_type=bearer&code=x", "access_token=REDACTED&token_type=bearer&code=REDACTED"),
        ("%74oken=a&e-mail=ada%40example.com&token=", "%74oken=REDACTED&e-mail=REDACTED&token="),
        ("n=4111+1111+1111+1111&n=4111111111111112", "n=REDACTED&n=4111111111111112"),
        ("back=https%3A%2F%2Fa%2F%3Ftoken%3Dxyz", "back=REDACTED"),
        ("AKIAIOSFODNN7EXAMPLE", "REDACTED"),
        ("&&=&a", "&&=&a"),
    ] {
        assert_eq!(redaction.query(query), expected);
    }
}

#[test]
fn path_segments_are_replaced_by_parameter_by_rule_and_by_form() {
    let redaction = rules(&["invite", "/reset/{code}", "/files/{owner}/{*rest}"], &[], &[], &[]);
    for (path, template, expected) in [
        ("/users/abc", Some("/users/{id}"), "/users/abc"),
        ("/users/abc", Some("/users/{token}"), "/users/REDACTED"),
        ("/join/abc/now", Some("/join/{Invite}/now"), "/join/REDACTED/now"),
        ("/s/a/b", Some("/s/{*secret}"), "/s/REDACTED/REDACTED"),
        // Rules hold on any path, also one that no route has taken.
        ("/reset/abc", None, "/reset/REDACTED"),
        ("/reset/abc", Some("/{*rest}"), "/reset/REDACTED"),
        ("/reset/abc/more", None, "/reset/abc/more"),
        ("/files/ada/a/b", None, "/files/REDACTED/REDACTED/REDACTED"),
        ("/a;jsessionid=F00;v=1/b", None, "/a;jsessionid=REDACTED;v=1/b"),
        ("/t/AKIAIOSFODNN7EXAMPLE", None, "/t/REDACTED"),
        ("/", Some("/"), "/"),
        ("", None, ""),
    ] {
        assert_eq!(redaction.path(path, template), expected, "{path} {template:?}");
    }
}

#[test]
fn addresses_lose_their_user_their_fragment_and_their_secrets() {
    let redaction = Redaction::default();
    for (url, expected) in [
        ("https://ada:pw@example.com/a?b=1", "https://REDACTED:REDACTED@example.com/a?b=1"),
        ("https://example.com?token=x#access_token=y", "https://example.com?token=REDACTED"),
        ("/a/b", "/a/b"),
        ("http://example.com", "http://example.com"),
    ] {
        assert_eq!(redaction.url(url), expected);
    }
    assert_eq!(redaction.header("Referer", "https://a/?code=1"), "https://a/?code=REDACTED");
    assert_eq!(redaction.header("X-Tier", "gold"), "gold");
}

#[test]
fn no_rule_shows_credentials_and_a_rule_of_its_own_beats_show() {
    let rules = Rules {
        headers: vec!["x-internal-*".into()],
        show: vec!["authorization".into(), "x-api-key".into(), "x-internal-token".into()],
        ..Rules::default()
    };
    let redaction = Redaction::new(&rules).unwrap();
    for (name, hidden) in
        [("Authorization", true), ("Cookie", true), ("x-api-key", false), ("X-Internal-Token", true), ("accept", false)]
    {
        assert_eq!(redaction.hides_header(name), hidden, "{name}");
    }
}

#[test]
fn rules_that_can_hide_nothing_are_refused() {
    for (rules, says) in [
        (
            Rules { path: vec!["/reset".into()], ..Rules::default() },
            "the rule `/reset` of `path` names no segment to hide",
        ),
        (Rules { query: vec!["a=b".into()], ..Rules::default() }, "the rule `a=b` of `query` is no name"),
        (Rules { show: vec![String::new()], ..Rules::default() }, "the rule `` of `show` is empty"),
    ] {
        let error = Redaction::new(&rules).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn values_are_masked_wherever_the_secret_stands() {
    let mut value = json!({
        "user": { "name": "Ada", "password": "x", "tokens": ["a", "b"], "secret": null, "mood": "m" },
        "list": [{ "cvv": 123 }, "4111 1111 1111 1111", 4111111111111111_u64, "see https://a/?token=abc"],
        "cents": 990,
    });
    rules(&[], &[], &["mood"], &[]).value(&mut value);
    let expected = json!({
        "user": { "name": "Ada", "password": MASK, "tokens": MASK, "secret": null, "mood": MASK },
        "list": [{ "cvv": MASK }, MASK, MASK, "see https://a/?token=‹masked›"],
        "cents": 990,
    });
    assert_eq!(value, expected);
}

#[test]
fn a_clients_network_is_shown_or_nothing() {
    let client = |client| Redaction::new(&Rules { client, ..Rules::default() }).unwrap();
    let network = client(ClientAddress::Network);
    assert_eq!(network.client("203.0.113.9"), "203.0.113.0");
    assert_eq!(network.client("2001:db8:1:2::9"), "2001:db8:1::");
    assert_eq!(client(ClientAddress::Hidden).client("203.0.113.9"), MASK);
    assert!(network.hides_header("x-forwarded-for") && !Redaction::default().hides_header("x-forwarded-for"));
}

proptest! {
    /// Whatever stands around it, the value of a hidden name is gone, and nothing panics.
    #[test]
    fn a_planted_secret_is_in_no_output(secret in "[A-Z]{4}[a-z0-9]{8,20}", noise in "\\PC{0,30}", word in "[a-z]{1,8}") {
        let redaction = Redaction::default();
        let noise_query: String = noise.chars().filter(|c| !"&=%+".contains(*c)).collect();
        let query = format!("{word}={noise_query}&access_token={secret}&x");
        prop_assert!(!redaction.query(&query).contains(&secret));
        let path = format!("/{word}/{secret}/{word}");
        let shown = redaction.path(&path, Some("/{a}/{token}/{b}"));
        prop_assert!(!shown.contains(&secret));
        let url = format!("https://{word}:{secret}@h/{word}?sig={secret}#{secret}");
        prop_assert!(!redaction.url(&url).contains(&secret));
        let text = format!("{noise} password={secret} {noise}");
        prop_assert!(!redaction.text(&text).contains(&secret));
        let mut value = json!({ "a": [{ word: { "client-secret": secret } }], "b": text });
        redaction.value(&mut value);
        prop_assert!(!value.to_string().contains(&secret));
        prop_assert!(!redaction.header("cookie", &secret).contains(&secret));
    }
}
