//! Flows from YAML that are wrong: each problem names its place, what is wrong, and what would be right.
#![cfg(feature = "declare")]

use zerver_flows::declare::{Known, load_str};

const TARGETS: [&str; 5] = ["auth", "cart", "profile", "price", "pay"];

/// `steps` is put into a sound page; the problems come out as `line:column: message; help`.
fn problems(steps: &str, respond: &str) -> Vec<String> {
    let yaml = format!("flow: checkout\nsteps:\n{steps}\nrespond: {respond}\n");
    load_str(&yaml, Known::targets(&TARGETS)).unwrap_err().iter().map(ToString::to_string).collect()
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
            "6:3: steps.d says nothing to do; one of get, post, put, patch, delete, call, set, flow, replace, answer, fail",
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
        let found = load_str(yaml, Known::targets(&TARGETS)).unwrap_err();
        assert!(found.iter().any(|problem| problem.to_string().contains(expected)), "{found:?}");
    };
    check("flow: Check_Out\nrespond: {}\n", "1:7: flow: `Check_Out` is no name for a flow");
    check("steps: {}\nrespond: {}\n", "a flow needs a name; flow: checkout");
    check("flow: checkout\n", "a flow ends with its answer: it needs `respond`");
    check("flow: checkout\nversion: two\nrespond: {}\n", "2:10: version is a whole number from 1");
    check("- 1\n", "a flow is a mapping, not a list");
    check("flow: checkout\nsteps:\n  a: { set: 1 }\n  a: { set: 2 }\nrespond: {}\n", "4:3:");
    check("flow: [\n", "");
    let lint = |lint: &str| format!("flow: checkout\nlint: {lint}\nrespond: {{}}\n");
    check(&lint("{ allow: [ZF04] }"), "2:17: lint.allow: no rule has the id `ZF04`; did you mean `ZF004`?");
    check(&lint("{ allow: [ZF004, dead] }"), "2:24: lint.allow: no rule has the id `dead`; its rules are ZF002, ZF003");
    check(&lint("{ allow: ZF004 }"), "2:16: lint.allow is a list of ids, not text; allow: [ZF012]");
    check(&lint("{ deny: [] }"), "2:9: lint: unknown key `deny`");
    assert!(load_str(&lint("{ allow: [ZF004] }"), Known::targets(&TARGETS)).is_ok());
}

#[test]
fn joins_and_loops_that_cannot_be() {
    let ok = "{ json: {} }";
    let check = |step: &str, expected: &str| {
        let found = problems(&format!("  cart: {{ set: {{ items: [] }} }}\n  a: {step}"), ok);
        assert_eq!(found, [expected], "{step}");
    };
    let twice = "may happen more than once; add `idempotent: true` if that does no harm";
    check("{ post: ['cart:/', 'pay:/'], race: true }", &format!("4:35: steps.a.race: a `post` {twice}"));
    check("{ delete: ['cart:/', 'pay:/'], hedge: p95 }", &format!("4:37: steps.a.hedge: a `delete` {twice}"));
    check("{ post: ['cart:/', 'pay:/'], retry: 2 }", &format!("4:42: steps.a.retry: a `post` {twice}"));
    check("{ flow: price-of, retry: 2 }", &format!("4:31: steps.a.retry: a `flow` {twice}"));
    check(
        "{ get: ['cart:/', 'pay:/'], hedge: p100 }",
        "4:41: steps.a.hedge: `p100` is no time to wait; write how long a call has before the next one helps: `80ms`, \
         `p95` or `p95 or 80ms`",
    );
    check(
        "{ get: ['cart:/', 'pay:/'], hedge: 5ms, sequential: true }",
        "4:46: steps.a.sequential: a step starts its calls in one way",
    );
    check("{ get: ['cart:/', 'pay:/'], at_most: 3 }", "4:43: steps.a.at_most is a number from 1 to that of the calls");
    check(
        "{ get: ['cart:/', 'pay:/'], first_ok: true, fallback: { set: 1 } }",
        "4:50: steps.a.fallback: a join has calls for that; `first_ok: true` with `sequential: true` tries one call \
         after the other",
    );
    check("{ each: cart.items, get: 'cart:/' }", "4:14: steps.a.each says how many items it takes at most; max: 20");
    check("{ each: cart.items, max: 129, get: 'cart:/' }", "4:31: steps.a.max is a number from 1 to 128");
    check("{ max: 3, get: 'cart:/' }", "4:8: steps.a.max goes with `each`; each: \"${cart.items}\"");
    check(
        "{ each: cart.items, max: 9, get: ['cart:/'] }",
        "4:8: steps.a.each: a step loops over a list or joins several calls, not both",
    );
    check(
        "{ each: cart.items, max: 9, get: 'cart:/', when: item.ok }",
        "4:55: steps.a.when reads `item`, and no item is there; `item` is one of the list that the step's own `each` \
         names, in what is done for it",
    );
    check(
        "{ each: cart.items, max: 9, get: 'cart:/', fallback: { set: 1 } }",
        "4:49: steps.a.fallback has no meaning beside `each`; `optional_items: true` lets items fail",
    );
}

#[test]
fn verbs_and_modifiers_that_do_not_go_together() {
    let ok = "{ json: {} }";
    let check = |step: &str, expected: &str| assert_eq!(problems(&format!("  a: {step}"), ok), [expected], "{step}");
    check(
        "{ set: 1, retry: 2 }",
        "3:16: steps.a.retry has no meaning beside `set`; beside it there are when, after, optional, timeout, fallback, \
         each, max, parallel, optional_items, sensitive",
    );
    check("{ flow: price-of, json: 1 }", "3:24: steps.a.json has no meaning beside `flow`; with: { json: … }");
    check(
        "{ fail: { status: 401 } }",
        "3:3: steps.a: `fail` would end every run; say when it does: `when: request.query.cart == ''`",
    );
    check("{ fail: { status: 200 }, when: true }", "3:24: steps.a.fail.status is a status from 400 to 599");
    check("{ fail: { message: no }, when: true }", "3:14: steps.a.fail says no status; status: 404");
    check(
        "{ fail: { status: 400, code: No-Cart }, when: true }",
        "3:35: steps.a.fail.code is a word of small letters, digits and `_`, at most 64 of them; code: no_such_cart",
    );
    check(
        "{ answer: { stats: 200 }, when: true }",
        "3:18: steps.a.answer: unknown key `stats`; did you mean `status`?",
    );
    check(
        "{ flow: Price }",
        "3:14: steps.a.flow: `Price` is no name for a flow; a flow's name begins with a lower-case letter",
    );
    check(
        "{ flow: price-of, with: { path: a } }",
        "3:38: steps.a.with.path begins with `/`; path: \"/carts/${cart.id}\"",
    );
    check("{ get: 'cart:/', priority: bach }", "3:33: steps.a.priority: `bach` is no priority; did you mean `batch`?");
    check(
        "{ get: 'cart:/', status: 404 }",
        "3:31: steps.a.status is `any` or left out; without it, an answer of 400 and above fails the step",
    );
    check(
        "{ get: 'cart:/', undo: {} }",
        "3:29: steps.a.undo says nothing to do; one of get, post, put, patch, delete, call",
    );
    check(
        "{ get: 'cart:/', fallback: { set: 1, json: 2 } }",
        "3:43: steps.a.fallback.json has no meaning beside `set`",
    );
    check(
        "{ post: 'pay:/', undo: { delete: 'pya:/' } }",
        "3:39: steps.a.undo.delete: no upstream is called `pya`; did you mean `pay`?",
    );
}

#[test]
fn what_is_not_there_when_it_is_read() {
    let ok = "{ json: {} }";
    let check = |steps: &str, expected: &str| assert_eq!(problems(steps, ok), [expected]);
    check(
        "  lock: { post: 'cart:/' }\n  a: { post: 'pay:/', undo: { delete: 'pay:/${lock.id}' } }",
        "4:39: steps.a.undo.delete reads `lock`, which may not be written when `a` is; `a` does not wait for it: add \
         `after: [lock]` to `a`",
    );
    check(
        "  lock: { post: 'cart:/', optional: true }\n  a: { post: 'pay:/', after: [lock], cleanup: { delete: 'pay:/${lock.id}' } }",
        "4:57: steps.a.cleanup.delete reads `lock` as if it were always there, but it is optional; write \
         `lock.?field.orValue(…)`, `has(lock.field)` or `lock.hasValue()`",
    );
    check(
        "  deny: { fail: { status: 401 }, when: request.path == '/' }\n  a: { set: '${deny}' }",
        "4:13: steps.a.set reads `deny`, but that step ends the flow and has no value; to run only when it did not, say \
         `after: [deny]`",
    );
    check("  a: { get: 'cart:/', fallback: { get: 'pay:/${a.id}' } }", "3:3: cycle: a -> reads a");
    check(
        "  item: { set: 1 }",
        "3:3: steps.item: `item` is no name for a step; a step's name is letters, digits and `_`, and no word of the language",
    );
}

#[test]
fn the_answer_to_a_failure_reads_no_slot() {
    let found = |on_error: &str| {
        let yaml =
            format!("flow: checkout\nsteps: {{ a: {{ get: 'cart:/' }} }}\nrespond: {{}}\non_error: {on_error}\n");
        load_str(&yaml, Known::targets(&TARGETS)).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let may = "it may read `fail.code`, `fail.status`, `fail.message`, `fail.step` and `request`";
    assert_eq!(
        found("{ text: '${a}' }"),
        [format!("4:19: on_error.text reads `a`, which may not be written when the flow fails; {may}")]
    );
    assert_eq!(
        found("{ text: '${fial.code}' }"),
        ["4:19: on_error.text reads `fial`, which is nothing; did you mean `fail`?"]
    );
    assert_eq!(found("{ status: 99 }"), ["4:21: on_error.status is a status from 200 to 599"]);
    let fail = problems("  a: { set: '${fail.code}' }", "{}");
    assert_eq!(fail, ["3:13: steps.a.set reads `fail`, and nothing has failed; `fail` is there in `on_error`"]);
}

#[test]
fn another_flow_has_to_be_there() {
    let yaml = "flow: checkout
steps:
  a: { flow: price-quot }
  b: { replace: refund, when: request.path == '/x' }
  c: { flow: checkout }
respond: {}
";
    let known = Known { targets: &[], flows: Some(&["checkout", "price-quote"]), ..Known::default() };
    let found: Vec<String> = load_str(yaml, known).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "3:14: steps.a.flow: no flow is called `price-quot`; did you mean `price-quote`?",
            "4:17: steps.b.replace: no flow is called `refund`; add a flow `refund` to the page",
        ]
    );
    let unknown = Known { flows: None, ..known };
    assert!(load_str(yaml, unknown).is_ok(), "where the flows are not known, the name is looked for when it is needed");
}

#[test]
fn expressions_look_only_for_what_is_there() {
    let check = |steps: &str, respond: &str, expected: &[&str]| assert_eq!(problems(steps, respond), expected);
    let ok = "{ json: {} }";
    check(
        "  cart: { get: 'cart:/v1', gives: { id: text, items: [{ sku: text, cents: number }] } }",
        "{ json: { a: '${cart.item}', b: '${cart.items.map(i, i.cent)}', c: '${cart.id.x}', d: '${cart.items[0].sku}' } }",
        &[
            "4:23: respond.json.a: `cart` has no field `item`; did you mean `items`?",
            "4:42: respond.json.b: `cart.items[…]` has no field `cent`; did you mean `cents`?",
            "4:77: respond.json.c: `cart.id` is text, and has no field `x`",
        ],
    );
    check(
        "  p: { get: 'profile:/', status: any, when: request.methods == 'GET' }",
        "{ json: { a: '${p.?stats.orValue(0)}', b: '${has(p.body) ? p.?body.?name.orValue(1) : 2}' } }",
        &[
            "3:45: steps.p.when: `request` has no field `methods`; did you mean `method`?",
            "4:23: respond.json.a: `p` has no field `stats`; did you mean `status`?",
        ],
    );
    check(
        "  made: { set: { total: 3, of: '${lines}' } }\n  lines: { set: [{ n: 1 }, { n: 2 }] }\n  \
           each: { each: lines, max: 9, get: 'price:/${item.n}/${item.m}', gives: number }",
        "{ json: { a: '${made.of[0].m}', b: '${each[0].x}', c: '${made.totals}', d: '${made.of[0].n + made.total}' } }",
        &[
            "5:37: steps.each.get: `item` has no field `m`; did you mean `n`?",
            "6:23: respond.json.a: `made.of[…]` has no field `m`; did you mean `n`?",
            "6:45: respond.json.b: `each[…]` is a number, and has no field `x`",
            "6:64: respond.json.c: `made` has no field `totals`; did you mean `total`?",
        ],
    );
    check(
        "  a: { get: 'cart:/', gives: { id: txt } }\n  b: { get: 'cart:/', gives: [text, text] }\n  c: { set: 1, gives: text }",
        ok,
        &[
            "3:36: steps.a.gives.id says what a value is; did you mean `text`?",
            "4:30: steps.b.gives says what a value is; one of text, number, bool, any, a list of one such, or a mapping \
             of names to such",
            "5:16: steps.c.gives has no meaning beside `set`; beside it there are when, after, optional, timeout, \
             fallback, each, max, parallel, optional_items, sensitive",
        ],
    );
}

#[test]
fn a_body_that_streams_is_passed_on_and_not_read() {
    let problems = |page: &str| -> Vec<String> {
        load_str(page, Known::targets(&TARGETS)).unwrap_err().iter().map(ToString::to_string).collect()
    };
    let page = "flow: upload\nbody: stream\nsteps:\n  a: { put: 'cart:/a', pass: true }\n  \
                b: { put: 'cart:/b', pass: true, json: 1 }\n  c: { set: '${request.body.x}' }\nrespond: {}\n";
    assert_eq!(
        problems(page),
        [
            "5:30: steps.b sends one of `json`, `body` and the request's own (`pass`)",
            "6:13: steps.c.set reads the request's body, which is a stream here; pass it on with `pass: true`, or say \
             `body: whole`",
        ]
    );
    assert_eq!(
        problems("flow: upload\nbody: streams\nsteps: {}\nrespond: {}\n"),
        ["2:7: body: `streams` is neither `whole` nor `stream`; `whole` is read before the flow runs, `stream` is \
          passed on as it comes (`pass: true`)"]
    );
}
