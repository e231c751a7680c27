//! The JSON Schema of a flow in a page, for editors. What it cannot say (names, edges, expressions) is checked at load.

use serde_json::{Value, json};

use super::keys;
use crate::graph::NODES_MAX;
use crate::policy::RETRIES_MAX;

/// The JSON Schema (draft 2020-12, without references) of a flow in a page.
#[must_use]
pub fn schema() -> Value {
    json!({
        "type": "object",
        "description": "A flow: steps that run when what they read is there. Texts hold expressions of CEL as `${ … }`.",
        "required": ["flow", "respond"],
        "additionalProperties": false,
        "properties": {
            "flow": slug("Its name: lower-case words of letters and digits, joined by single hyphens."),
            "version": { "type": "integer", "minimum": 1, "default": 1 },
            "owner": { "type": "string", "description": "Who answers for it." },
            "description": { "type": "string" },
            "lint": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "allow": {
                        "type": "array",
                        "items": { "type": "string" },
                        "description": "Rules of `zerver lint` that are not wanted here.",
                    },
                },
            },
            "deadline": duration("Time for the whole flow."),
            "optional_within": duration("How long optional steps are waited for, from the flow's start."),
            "body": {
                "enum": ["whole", "stream"],
                "description": "Whether the request's body is read before the flow runs, or passed on as it comes.",
            },
            "steps": {
                "type": "object",
                "description": "Steps by name; the name is the slot that others read.",
                "propertyNames": { "pattern": "^[A-Za-z][A-Za-z0-9_]*$", "not": { "enum": keys::RESERVED } },
                "additionalProperties": step(),
            },
            "respond": answer("The answer."),
            "on_error": answer("The answer when the flow has failed; it may read `fail` and `request`."),
        }
    })
}

fn step() -> Value {
    let mut properties = json!({
        "set": { "description": "Makes this value." },
        "call": exposed(),
        "args": args(),
        "flow": slug("Runs this flow as a part of the step; the value is its answer."),
        "replace": slug("Lets this flow answer instead."),
        "answer": answer("Answers at once; what still runs is cancelled."),
        "fail": fail(),
        "with": with(),
        "status": { "const": "any", "description": "Takes any status: the value is `{status, headers, body}`." },
        "gives": gives(),
        "when": { "type": ["string", "boolean"], "description": "Runs only when this expression is true." },
        "after": { "type": "array", "items": { "type": "string" }, "description": "Steps to wait for." },
        "optional": flag("The flow goes on without it when it fails."),
        "timeout": duration("From ready to end."),
        "retry": whole(RETRIES_MAX, "Tries beyond the first."),
        "idempotent": flag("What it changes may be changed twice without harm."),
        "priority": { "enum": keys::PRIORITIES, "description": "Who goes first where there is no room for all." },
        "fallback": inner_call("What stands in for it when it has failed.", true),
        "undo": inner_call("Undoes it when a later step fails.", false),
        "cleanup": inner_call("Runs after it at the end of the flow, failed or not.", false),
        "each": { "type": "string", "description": "A list: the step is done for each `item` of it." },
        "max": whole(NODES_MAX, "The most items that `each` takes."),
        "parallel": whole(NODES_MAX, "The most items at a time."),
        "sensitive": flag("Its value is never shown, not even to who asks for a request's values."),
        "optional_items": flag("Items may fail: the value is a list of options."),
        "race": flag("Takes the first call to end, be it a failure."),
        "first_ok": flag("Takes the first success."),
        "quorum": whole(keys::JOINED_MAX, "Takes so many successes, as a list."),
        "hedge": {
            "type": "string",
            "description": "How long a call has before the next one helps: 80ms, p95, or p95 or 80ms until that is known.",
            "examples": ["80ms", "p95", "p95 or 80ms"],
        },
        "sequential": flag("Starts each call when the one before it has ended."),
        "at_most": whole(keys::JOINED_MAX, "The most calls at a time."),
    });
    let calls = keys::CALLS.into_iter().map(|verb| {
        let calls = json!({ "type": "array", "items": to(), "minItems": 1, "maxItems": keys::JOINED_MAX });
        (verb, json!({ "description": "Calls a target, or several.", "oneOf": [to(), calls] }))
    });
    put(&mut properties, calls.chain(sent()));
    let one: Vec<Value> = keys::VERBS.iter().map(|verb| json!({ "required": [verb] })).collect();
    json!({
        "type": "object",
        "description": "A step does one thing.",
        "additionalProperties": false,
        "properties": properties,
        "oneOf": one,
        "dependentRequired": { "args": ["call"], "each": ["max"], "max": ["each"], "parallel": ["each"], "optional_items": ["each"] },
    })
}

/// A call inside a step.
fn inner_call(description: &str, may_set: bool) -> Value {
    let mut properties = json!({});
    put(&mut properties, keys::CALLS.into_iter().map(|verb| (verb, to())).chain(sent()));
    put(&mut properties, [("call", exposed()), ("args", args())].into_iter());
    if may_set {
        put(&mut properties, [("set", json!({ "description": "Makes this value." }))].into_iter());
    }
    let verbs = keys::CALLS.into_iter().chain(["call"]).chain(may_set.then_some("set"));
    let one: Vec<Value> = verbs.map(|verb| json!({ "required": [verb] })).collect();
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": false,
        "properties": properties,
        "oneOf": one,
    })
}

/// The name of a step written in Rust.
fn exposed() -> Value {
    let description = "Calls this step, which is written in Rust and added to the gateway's own binary.";
    json!({ "type": "string", "description": description, "examples": ["load_cart"] })
}

fn args() -> Value {
    json!({ "type": "object", "description": "What that step is given, by the names of its parameters." })
}

/// What a value looks like. Deeper parts are held to the same rules by the loader.
fn gives() -> Value {
    json!({
        "description": "What its value looks like, so that expressions are checked against it.",
        "oneOf": [
            { "enum": keys::FORMS },
            { "type": "array", "minItems": 1, "maxItems": 1 },
            { "type": "object" },
        ],
        "examples": [{ "id": "text", "items": [{ "sku": "text", "cents": "number" }] }],
    })
}

/// What a call sends.
fn sent() -> impl Iterator<Item = (&'static str, Value)> {
    [
        ("headers", texts("Headers.")),
        ("json", json!({ "description": "What is sent, as JSON." })),
        ("body", text("What is sent, as text.")),
        ("pass", flag("Sends the request's own body.")),
    ]
    .into_iter()
}

fn put(into: &mut Value, more: impl Iterator<Item = (&'static str, Value)>) {
    for (key, value) in more {
        into[key] = value;
    }
}

fn answer(description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": false,
        "properties": {
            "status": status(200),
            "headers": texts("Headers."),
            "json": { "description": "The body, as JSON." },
            "text": text("The body, as text."),
        },
        "not": { "required": ["json", "text"] },
    })
}

fn fail() -> Value {
    json!({
        "type": "object",
        "description": "Ends the flow with this failure.",
        "required": ["status"],
        "additionalProperties": false,
        "properties": {
            "status": status(400),
            "message": text("What the client reads."),
            "code": { "type": "string", "pattern": "^[a-z0-9_]{1,64}$", "description": "A word for programs." },
        },
    })
}

fn with() -> Value {
    json!({
        "type": "object",
        "description": "What the other flow is asked; without it, what this one was asked.",
        "additionalProperties": false,
        "properties": {
            "path": { "type": "string", "pattern": "^/", "default": "/" },
            "params": texts("Path parameters."),
            "query": texts("Query parameters."),
            "headers": texts("Headers."),
            "json": { "description": "The body, as JSON; it makes the request a POST." },
        },
    })
}

fn slug(description: &str) -> Value {
    let pattern = "^[a-z][a-z0-9]*(-[a-z0-9]+){0,5}$";
    json!({ "type": "string", "description": description, "pattern": pattern, "minLength": 3, "maxLength": 48 })
}

fn to() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+:/", "examples": ["carts:/v1/carts/${user.id}"] })
}

fn duration(description: &str) -> Value {
    json!({ "type": "string", "description": description, "examples": ["300ms", "2s", "1m"] })
}

fn flag(description: &str) -> Value {
    json!({ "type": "boolean", "description": description, "default": false })
}

fn whole(most: impl serde::Serialize, description: &str) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most, "description": description })
}

/// A status, or an expression that gives one.
fn status(least: u16) -> Value {
    let number = json!({ "type": "integer", "minimum": least, "maximum": 599 });
    json!({ "oneOf": [number, { "type": "string", "pattern": r"\$\{" }] })
}

/// A text, which may hold expressions; YAML reads some of them as something else.
fn text(description: &str) -> Value {
    json!({ "type": ["string", "number", "boolean"], "description": description })
}

fn texts(description: &str) -> Value {
    json!({ "type": "object", "description": description, "additionalProperties": text("The value.") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of the object schema at `pointer` are those that the planner takes.
    #[test]
    fn the_schema_has_the_planners_keys() {
        let schema = schema();
        let check = |pointer: &str, expected: &[&str]| {
            let object = schema.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"));
            let mut found: Vec<&str> = object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut expected = expected.to_vec();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!((found, &object["additionalProperties"]), (expected, &json!(false)), "{pointer}");
        };
        let step = "/properties/steps/additionalProperties";
        let inside = |key: &str| format!("{step}/properties/{key}");
        check("", &keys::FLOW);
        check("/properties/respond", &keys::ANSWER);
        check("/properties/on_error", &keys::ANSWER);
        check(step, &keys::step());
        check(&inside("answer"), &keys::ANSWER);
        check(&inside("fail"), &keys::FAIL);
        check(&inside("with"), &keys::WITH);
        check(&inside("undo"), &keys::CALL);
        check(&inside("cleanup"), &keys::CALL);
        check(&inside("fallback"), &[&keys::CALL[..], &["set"]].concat());
    }
}
