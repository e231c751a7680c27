//! Both sides of every rule: what it finds, and what looks like it and is sound.

use std::time::Duration;

use std::sync::Arc;

use crate::graph::{Graph, GraphNode, Head, Inside};
use crate::join::{Join, Start, Take};
use crate::lint::{Remarks, Rule, lint, unreached};

/// A flow of steps, each `name = step(reads) words`, where words are `->target`, `after:step`, `timeout:300`, `retry:2`,
/// `optional`, `idempotent`. It is owned and described, and has the deadline if there is one.
fn flow(file: &str, deadline_ms: Option<u64>, steps: &[&str]) -> Graph {
    let ms = |text: &str| Duration::from_millis(text.parse().unwrap());
    let nodes = steps.iter().enumerate().map(|(n, text)| {
        let (name, rest) = text.split_once(" = ").unwrap();
        let (step, rest) = rest.split_once('(').unwrap();
        let (reads, words) = rest.split_once(')').unwrap();
        let mut node = GraphNode { line: u32::try_from(n).unwrap() + 10, ..GraphNode::new(name, step) };
        node.reads = reads.split_whitespace().map(str::to_owned).collect();
        for word in words.split_whitespace() {
            match word.split_once(':').unwrap_or((word, "")) {
                ("after", step) => node.after.push(step.to_owned()),
                ("timeout", time) => node.timeout = Some(ms(time)),
                ("retry", times) => node.retries = times.parse().unwrap(),
                ("optional", _) => node.optional = true,
                ("idempotent", _) => node.idempotent = true,
                (target, _) => node.targets.push(target.trim_start_matches("->").to_owned()),
            }
        }
        node
    });
    let head = Head {
        slug: "shop".into(),
        owner: Some("shop".into()),
        doc: "Sells.".into(),
        deadline: deadline_ms.map(Duration::from_millis),
        file: file.into(),
        line: 5,
        ..Head::default()
    };
    Graph::new(head, nodes.collect()).unwrap()
}

fn page(steps: &[&str]) -> Graph {
    flow("", Some(2_000), steps)
}

fn rust(steps: &[&str]) -> Graph {
    flow("src/shop.rs", Some(2_000), steps)
}

/// What is found, as `line id step`.
fn found(graph: &Graph, remarks: &Remarks) -> Vec<String> {
    let text = |finding: &crate::lint::Finding| {
        assert!(!finding.message.is_empty() && !finding.help.is_empty());
        format!("{} {} {}", finding.line, finding.rule.id(), finding.step.as_deref().unwrap_or("-"))
    };
    lint(graph, remarks).iter().map(text).collect()
}

fn check(graph: &Graph, expected: &[&str]) {
    assert_eq!(found(graph, &Remarks::default()), expected, "{}", graph.to_text());
}

/// The same flow, its first step a join of two such steps.
fn joined(graph: &Graph, take: Take, start: Start) -> Graph {
    let mut nodes = graph.nodes().to_vec();
    let branch = |n: &str| GraphNode::new(n, &nodes[0].step);
    let inner = Graph::inner("join", vec![branch("1"), branch("2")], Join { take, start }, Inside::Branches);
    nodes[0].inner = Some(Arc::new(inner.unwrap()));
    Graph::new(graph.head().clone(), nodes).unwrap()
}

#[test]
fn a_sound_flow_has_no_findings() {
    check(
        &page(&[
            "user = get() ->auth timeout:500",
            "cart = get(user) ->carts",
            "profile = get(user) ->profiles timeout:300 optional",
            "receipt = post(cart) ->pay",
            "respond = respond(profile receipt)",
        ]),
        &[],
    );
}

#[test]
fn zf002_who_answers_for_it() {
    let with = |owner: Option<&str>, doc: &str, file: &str| {
        let head = Head {
            slug: "shop".into(),
            owner: owner.map(str::to_owned),
            doc: doc.into(),
            file: file.into(),
            line: 5,
            ..Head::default()
        };
        let graph = Graph::new(head, vec![GraphNode::new("respond", "respond")]).unwrap();
        lint(&graph, &Remarks::default()).pop().map(|found| (found.message, found.help))
    };
    assert_eq!(with(Some("shop"), "Sells.", ""), None);
    for (owner, doc, message) in [
        (None, "Sells.", "it has no owner"),
        (Some("shop"), " ", "it has no description"),
        (Some(" "), "", "it has no owner and no description"),
    ] {
        assert_eq!(with(owner, doc, "").unwrap().0, message);
    }
    assert!(with(None, "", "").unwrap().1.contains("`owner: the-team`"));
    assert!(with(None, "", "src/shop.rs").unwrap().1.contains("`owner = \"the-team\"`"), "in the flow's own language");
}

#[test]
fn zf003_dead_slots() {
    check(&page(&["cart = get() ->carts", "respond = respond()"]), &["10 ZF003 cart"]);
    check(&page(&["sum = set()", "respond = respond()"]), &["10 ZF003 sum"]);
    // Read only by what is itself dead: the last one is told, the next time the one before.
    check(&page(&["a = get() ->t", "b = set(a)", "respond = respond()"]), &["11 ZF003 b"]);
    // A write has done its work; a guard is waited for.
    check(&page(&["log = post() ->audit", "gone = delete() ->carts", "respond = respond()"]), &[]);
    check(&page(&["user = get() ->auth", "cart = get() ->carts after:user", "respond = respond(cart)"]), &[]);
    // What a Rust step does is not known; its author says so by its name.
    check(&rust(&["seen = audit() ->audit", "respond = respond()"]), &["10 ZF003 seen"]);
    check(&rust(&["_seen = audit() ->audit", "respond = respond()"]), &[]);
}

#[test]
fn zf004_retried_writes() {
    check(&page(&["paid = post() ->pay retry:2", "respond = respond(paid)"]), &["10 ZF004 paid"]);
    check(&page(&["paid = patch() ->pay retry:1", "respond = respond(paid)"]), &["10 ZF004 paid"]);
    for sound in ["put() ->pay retry:2", "delete() ->pay retry:2", "get() ->pay retry:2", "post() ->pay"] {
        check(&page(&[&format!("paid = {sound}"), "respond = respond(paid)"]), &[]);
    }
    // A Rust step may well be called `post`; what it sends is in its code.
    check(&rust(&["paid = post() ->pay retry:2", "respond = respond(paid)"]), &[]);
    check(&page(&["paid = post() ->pay retry:2 idempotent", "respond = respond(paid)"]), &[]);
    let graph = page(&["paid = post() ->pay retry:2", "respond = respond(paid)"]);
    let rust = Remarks { in_rust: vec!["paid".to_owned()], ..Remarks::default() };
    assert_eq!(found(&graph, &rust), [""; 0], "a page may call a Rust step of any name");
    let finding = &lint(&graph, &Remarks::default())[0];
    assert_eq!(finding.message, "`post` is tried again only when it surely did not arrive");
}

#[test]
fn zf005_timeouts_beyond_the_deadline() {
    let steps = ["a = get() ->t timeout:1500", "b = get(a) ->t timeout:600", "respond = respond(b)"];
    check(&page(&steps), &["5 ZF005 -"]);
    let finding = &lint(&page(&steps), &Remarks::default())[0];
    assert_eq!(finding.message, "a 1.5s + b 600ms may take 2.1s one after the other, and the run has 2s");
    // Side by side they fit; so do those that fill the deadline to the last.
    check(&page(&["a = get() ->t timeout:1500", "b = get() ->t timeout:600", "respond = respond(a b)"]), &[]);
    check(&page(&["a = get() ->t timeout:1500", "b = get(a) ->t timeout:500", "respond = respond(b)"]), &[]);
    check(&flow("", None, &steps), &[]);
    // The routes' time is a deadline too.
    let route = Remarks { route_timeout: Some(Duration::from_secs(1)), ..Remarks::default() };
    assert_eq!(found(&flow("", None, &steps), &route), ["5 ZF005 -"]);
}

#[test]
fn zf007_joined_writes() {
    let late = Start::After(Duration::from_millis(80));
    let measured = Start::AfterPercentile(95, Duration::from_millis(80));
    let graph = page(&["paid = post() ->eu ->us", "respond = respond(paid)"]);
    for (take, start) in [
        (Take::First, Start::Together),
        (Take::FirstOk, Start::Together),
        (Take::Quorum(1), Start::AtMost(2)),
        (Take::FirstOk, late),
        (Take::FirstOk, measured),
    ] {
        check(&joined(&graph, take, start), &["10 ZF007 paid"]);
    }
    check(&joined(&graph, Take::All, Start::Together), &[]);
    // The second is for when the first has failed.
    check(&joined(&graph, Take::FirstOk, Start::OneByOne), &[]);
    let put = page(&["paid = put() ->eu ->us", "respond = respond(paid)"]);
    check(&joined(&put, Take::First, Start::Together), &["10 ZF007 paid"]);
    check(&graph, &[]);
    let reads = page(&["price = get() ->eu ->us", "respond = respond(price)"]);
    check(&joined(&reads, Take::First, Start::Together), &[]);
}

#[test]
fn zf009_options_that_are_waited_for() {
    check(&page(&["p = get() ->profiles optional", "respond = respond(p)"]), &["10 ZF009 p"]);
    check(&rust(&["p = load() ->profiles optional", "respond = respond(p)"]), &["10 ZF009 p"]);
    check(&page(&["p = get() ->profiles optional timeout:300", "respond = respond(p)"]), &[]);
    check(&page(&["p = set() optional", "respond = respond(p)"]), &[]);
    let message = |graph: &Graph| lint(graph, &Remarks::default())[0].message.clone();
    let steps = ["p = get() ->profiles optional", "respond = respond(p)"];
    assert!(message(&page(&steps)).ends_with("it may hold up the answer for up to 2s"));
    assert!(message(&flow("", None, &steps)).ends_with("it may hold up the answer for any time"));
}

#[test]
fn zf012_needless_order() {
    let ordered = |second: &str, respond: &str| {
        page(&["a = get() ->t", &format!("b = {second} after:a"), &format!("respond = respond({respond})")])
    };
    check(&ordered("get() ->t", "a b"), &["11 ZF012 b"]);
    check(&ordered("set()", "a b"), &["11 ZF012 b"]);
    // A write waits for a check; a step that nobody reads is there to be waited for.
    check(&ordered("post() ->t", "a b"), &[]);
    check(&ordered("get() ->t", "b"), &[]);
    check(&page(&["a = put() ->t", "b = get() ->t after:a", "respond = respond(a b)"]), &[]);
    // In Rust the graph does not know what the two do.
    check(&rust(&["a = load() ->t", "b = load() ->t after:a", "respond = respond(a b)"]), &[]);
}

#[test]
fn zf015_no_limit_of_time() {
    let steps = ["cart = get() ->carts", "respond = respond(cart)"];
    check(&flow("", None, &steps), &["10 ZF015 cart"]);
    check(&flow("src/shop.rs", None, &steps), &["10 ZF015 cart"]);
    check(&page(&steps), &[]);
    check(&flow("", None, &["cart = get() ->carts timeout:300", "respond = respond(cart)"]), &[]);
    check(&flow("", None, &["cart = set()", "respond = respond(cart)"]), &[]);
    let route = Remarks { route_timeout: Some(Duration::from_secs(5)), ..Remarks::default() };
    assert_eq!(found(&flow("", None, &steps), &route), [""; 0]);
}

#[test]
fn zf016_orders_that_hold_anyway() {
    // By reading it, by what it reads, by being told twice.
    check(&page(&["a = get() ->t", "b = get(a) ->t after:a", "respond = respond(b)"]), &["11 ZF016 b"]);
    let far = ["a = get() ->t", "b = get(a) ->t", "c = post(b) ->t after:a", "respond = respond(c)"];
    check(&page(&far), &["12 ZF016 c"]);
    let twice = ["a = post() ->t", "b = post() ->t after:a after:a", "respond = respond(b)"];
    check(&page(&twice), &["11 ZF016 b"]);
    check(&rust(&["a = x()", "b = y(a) after:a", "respond = respond(b)"]), &["11 ZF016 b"]);
    check(&page(&["a = post() ->t", "b = post() ->t after:a", "respond = respond(b)"]), &[]);
}

#[test]
fn zf017_hedges_that_come_too_late() {
    let after = |ms| Start::After(Duration::from_millis(ms));
    let check = |graph: &Graph, start, expected: &[&str]| check(&joined(graph, Take::FirstOk, start), expected);
    let graph = page(&["p = get() ->eu ->us timeout:300", "respond = respond(p)"]);
    check(&graph, after(300), &["10 ZF017 p"]);
    check(&graph, after(80), &[]);
    check(&graph, Start::AfterPercentile(95, Duration::from_millis(300)), &[]);
    check(&page(&["p = get() ->eu ->us", "respond = respond(p)"]), after(2_500), &["10 ZF017 p"]);
    // In Rust as well.
    check(&rust(&["p = load() ->eu timeout:300", "respond = respond(p)"]), after(300), &["10 ZF017 p"]);
}

#[test]
fn zf018_flows_that_nothing_leads_to() {
    let graph = page(&["respond = respond()"]);
    let finding = unreached(&graph, &Remarks::default()).unwrap();
    assert_eq!(
        finding.to_string(),
        ":5: warning ZF018 shop: no route leads to this flow\n    \
         help: add a route with `to: { flow: shop }`, or remove the flow"
    );
    assert_eq!(unreached(&graph, &Remarks { allow: vec![Rule::Unreached], ..Remarks::default() }), None);
}

#[test]
fn what_is_allowed_is_not_told_and_the_rest_comes_by_line() {
    let graph = page(&["p = get() ->t optional", "q = get() ->t retry:1", "respond = respond(p)"]);
    check(&graph, &["10 ZF009 p", "11 ZF003 q"]);
    let allow = Remarks { allow: vec![Rule::PatientOption], ..Remarks::default() };
    assert_eq!(found(&graph, &allow), ["11 ZF003 q"]);
}
