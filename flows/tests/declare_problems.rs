//! Flows from YAML that are wrong: each problem names its place, what is wrong, and what would be right.
#![cfg(feature = "declare")]

use zerver_flows::declare::load_str;

const TARGETS: [&str; 5] = ["auth", "cart", "profile", "price", "pay"];

/// `steps` is put into a sound page; the problems come out as `line:column: message; help`.
fn problems(steps: &str, respond: &str) -> Vec<String> {
    let yaml = format!("flow: checkout\nsteps:\n{steps}\nrespond: {respond}\n");
    load_str(&yaml, &TARGETS).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn problems_name_place_and_remedy() {
    let check = |steps: &str, respond: &str, expected: &[&str]| assert_eq!(problems(steps, respond), expected);
    let ok = "{ json: {} }";
    check(
        "  price: { get: 'price:/v1' }",
        "{ json: { cents: '${prise.cents}' } }",
        &["4:27: respond.json.cents reads `prise`, but no step has that name; did you mean `price`?"],
    );
    check(
        "  profile: { get: 'profile:/v1', optionl: true }",
        ok,
        &["3:34: steps.profile: unknown key `optionl`; did you mean `optional`?"],
    );
    check(
        "  cart: { get: 'cart:/${receipt.id}' }\n  receipt: { post: 'pay:/${cart.id}' }",
        ok,
        &["3:3: cycle: cart -> reads receipt -> reads cart"],
    );
    check(
        "  cart: { get: 'cart:/v1', when: request.query.n >> 0 }",
        ok,
        &["3:34: steps.cart.when: `request.query.n >> 0` unexpected `>` at its column 18"],
    );
    check(
        "  cart: { get: 'cat:/v1' }\n  more: { get: 'warehouse:/' }",
        ok,
        &[
            "3:16: steps.cart.get: no upstream is called `cat`; did you mean `cart`?",
            "4:16: steps.more.get: no upstream is called `warehouse`; declare an upstream `warehouse`",
        ],
    );
    check(
        "  p: { get: 'profile:/', optional: true }",
        "{ text: '${p.name}' }",
        &["4:18: respond.text reads `p` as if it were always there, but it is optional; \
           write `p.?field.orValue(…)`, `has(p.field)` or `p.hasValue()`"],
    );
    check(
        "  a: { get: 'cart:/', post: 'pay:/' }\n  b: { optional: maybe, set: 1 }\n  c: { timeout: soon, set: 1 }\n  d: {}",
        ok,
        &[
            "3:23: steps.a does two things; make two steps of it",
            "4:18: steps.b.optional is true or false",
            "5:17: steps.c.timeout: `soon` is no duration; write it as `300ms`, `2s` or `1m`",
            "6:3: steps.d says nothing to do; one of get, post, put, patch, delete, set, flow, replace, answer, fail",
        ],
    );
    check(
        "  request: { set: 1 }\n  a: { set: '${1' }\n  b: { get: '${a}:/x' }\n  c: { set: 1, after: [aa] }",
        ok,
        &[
            "3:3: steps.request: `request` is no name for a step; a step's name is letters, digits and `_`, and no word \
             of the language",
            "4:13: steps.a.set: `${1`: a `${` is not closed by `}`",
            "5:13: steps.b.get: `…` names no target; a call goes to `target:/path`, where the target is an upstream's name",
            "6:24: steps.c.after: no step is called `aa`; did you mean `a`?",
        ],
    );
}

#[test]
fn pages_that_are_no_flow() {
    let check = |yaml: &str, expected: &str| {
        let found = load_str(yaml, &TARGETS).unwrap_err();
        assert!(found.iter().any(|problem| problem.to_string().contains(expected)), "{found:?}");
    };
    check("flow: Check_Out\nrespond: {}\n", "1:7: flow: `Check_Out` is no name for a flow");
    check("steps: {}\nrespond: {}\n", "a flow needs a name; flow: checkout");
    check("flow: checkout\n", "a flow ends with its answer: it needs `respond`");
    check("flow: checkout\nversion: two\nrespond: {}\n", "2:10: version is a whole number from 1");
    check("- 1\n", "a flow is a mapping, not a list");
    check("flow: checkout\nsteps:\n  a: { set: 1 }\n  a: { set: 2 }\nrespond: {}\n", "4:3:");
    check("flow: [\n", "");
}
