//! The words of a page: what a flow, a step and their parts may say. The planner and the schema both hold to these lists.

/// Keys of a flow.
pub(super) const FLOW: [&str; 11] = [
    "flow",
    "version",
    "owner",
    "description",
    "lint",
    "deadline",
    "optional_within",
    "body",
    "steps",
    "respond",
    "on_error",
];
/// What a step can do; it does one of these.
pub(super) const VERBS: [&str; 11] =
    ["get", "post", "put", "patch", "delete", "call", "set", "flow", "replace", "answer", "fail"];
/// The verbs that call a target.
pub(super) const CALLS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// The verbs that end the flow: their steps have no value.
pub(super) const ENDS: [&str; 3] = ["replace", "answer", "fail"];
/// What else a step can say.
pub(super) const MODIFIERS: [&str; 29] = [
    "headers",
    "json",
    "body",
    "pass",
    "args",
    "with",
    "status",
    "when",
    "after",
    "optional",
    "timeout",
    "retry",
    "idempotent",
    "priority",
    "fallback",
    "undo",
    "cleanup",
    "race",
    "first_ok",
    "quorum",
    "hedge",
    "sequential",
    "at_most",
    "each",
    "max",
    "parallel",
    "optional_items",
    "gives",
    "sensitive",
];
/// The modifiers that say how a list of calls becomes one value.
pub(super) const JOINS: [&str; 6] = ["race", "first_ok", "quorum", "hedge", "sequential", "at_most"];
/// The most calls one step may join.
pub(super) const JOINED_MAX: usize = 16;
/// The modifiers that go with `each`.
pub(super) const LOOP: [&str; 3] = ["max", "parallel", "optional_items"];
/// Keys of a call that stands inside a step: an undo, a cleanup, a fallback.
pub(super) const CALL: [&str; 11] =
    ["get", "post", "put", "patch", "delete", "call", "headers", "json", "body", "pass", "args"];
/// What a call to a target sends.
pub(super) const SENT: [&str; 4] = ["headers", "json", "body", "pass"];
/// Keys of an answer.
pub(super) const ANSWER: [&str; 4] = ["status", "headers", "json", "text"];
/// Keys of `with`: what another flow is asked.
pub(super) const WITH: [&str; 5] = ["path", "params", "query", "headers", "json"];
/// Keys of `fail`.
pub(super) const FAIL: [&str; 3] = ["status", "message", "code"];
/// The words for what a value is.
pub(super) const FORMS: [&str; 4] = ["text", "number", "bool", "any"];
/// Who goes first.
pub(super) const PRIORITIES: [&str; 3] = ["interactive", "batch", "critical"];
/// What the answer in place of a failure may read.
pub(super) const ON_ERROR: [&str; 2] = ["fail", "request"];
/// Names that are not for slots: CEL's own words, and what is there without a step.
pub(super) const RESERVED: [&str; 26] = [
    "request",
    "respond",
    "run",
    "item",
    "fail",
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Every key of a step.
pub(super) fn step() -> Vec<&'static str> {
    VERBS.iter().chain(&MODIFIERS).copied().collect()
}

/// Whether `modifier` says something beside `verb`.
pub(super) fn goes_with(verb: &str, modifier: &str) -> bool {
    let any = ["when", "after"].contains(&modifier);
    let waits =
        ["optional", "timeout", "fallback", "each", "sensitive"].contains(&modifier) || LOOP.contains(&modifier);
    match verb {
        "set" => any || waits,
        "flow" => {
            any || waits || ["with", "status", "gives", "retry", "idempotent", "undo", "cleanup"].contains(&modifier)
        }
        "replace" => any || modifier == "with",
        "answer" | "fail" => any,
        "call" => {
            let more = ["args", "gives", "retry", "idempotent", "priority", "undo", "cleanup"];
            any || waits || more.contains(&modifier)
        }
        _ => !["with", "args"].contains(&modifier),
    }
}
