//! The documentation names everything there is: each key, variable, admin page and error.

use std::collections::BTreeSet;

use serde_json::Value;
use zerver::admin::pages::PAGES;
use zerver::config::document::Document;
use zerver::config::env::VARIABLES;
use zerver::gateway::{Page, check};
use zerver::plan::Own;

fn read(name: &str) -> String {
    let path = crate::folder().join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every word of `words` that `text` does not hold in backquotes.
fn missing<'w>(text: &str, words: impl IntoIterator<Item = &'w str>) -> Vec<&'w str> {
    words.into_iter().filter(|word| !text.contains(&format!("`{word}`"))).collect()
}

/// The names of all properties and the words of all choices, at any depth of a schema.
fn names(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                found.extend(properties.keys().cloned());
            }
            found.extend(map.get("const").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| names(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| names(value, found)),
        _ => {}
    }
}

#[test]
fn configuration_names_every_key_choice_and_variable() {
    let schema = serde_json::to_value(schemars::schema_for!(Document)).unwrap();
    let mut keys = BTreeSet::new();
    names(&schema, &mut keys);
    assert!(keys.len() > 60 && keys.contains("drain_timeout") && keys.contains("round_robin"), "{keys:?}");
    let text = read("docs/configuration.md");
    assert_eq!(
        missing(&text, keys.iter().map(String::as_str)),
        [""; 0],
        "docs/configuration.md does not name these keys"
    );
    let variables = VARIABLES.iter().map(|variable| variable.name);
    assert_eq!(missing(&text, variables), [""; 0], "docs/configuration.md does not name these variables");
}

#[test]
fn every_page_in_the_documentation_is_sound() {
    let env = |name: &str| (name == "ADMIN_TOKEN").then(|| "x".to_owned());
    let mut pages = 0;
    for name in ["README.md", "docs/quickstart.md", "docs/configuration.md", "docs/operating.md"] {
        for block in read(name).split("```yaml\n").skip(1) {
            let (source, _) = block.split_once("```").unwrap();
            if source.starts_with("listen:") {
                pages += 1;
                let page = Page::Text { name: name.to_owned(), source: source.to_owned() };
                check(&page, &Own::default(), &env).map(|_| ()).unwrap_or_else(|rejected| panic!("{rejected}"));
            }
        }
    }
    assert!(pages >= 3, "{pages}");
}

#[test]
fn every_graph_of_a_checkout_is_as_printed() {
    let text = read("README.md");
    let (page, _) = text.split_once("```yaml\n").unwrap().1.split_once("```").unwrap();
    let page = Page::Text { name: "README.md".into(), source: page.to_owned() };
    let plan = check(&page, &Own::default(), &|_| None).unwrap_or_else(|rejected| panic!("{rejected}"));
    let pairs = [
        ("README.md", plan.flows["checkout"].flow().clone()),
        ("examples/checkout/README.md", crate::from_yaml()),
        ("examples/checkout/README.md", crate::flow::checkout()),
    ];
    for (name, flow) in pairs {
        let graph = flow.graph().to_text();
        assert!(read(name).contains(&graph), "{name} does not show\n{graph}");
    }
}

#[test]
fn admin_describes_every_page() {
    let text = read("docs/admin.md");
    for (method, path, _) in PAGES {
        let path = path.split('?').next().unwrap_or(path);
        assert!(text.contains(&format!("## `{method} {path}")), "docs/admin.md has no section on {method} {path}");
    }
}

/// Every word that `source` gives as the name or code of an error: what stands in quotes after `=>` in `function`.
fn words(source: &str, function: &str) -> Vec<String> {
    let body = source.split_once(function).unwrap_or_else(|| panic!("{function} is gone")).1;
    let body = body.split_once("\n    }\n").map_or(body, |(body, _)| body);
    body.lines().filter_map(|line| Some(line.split_once("=> \"")?.1.split('"').next()?.to_owned())).collect()
}

#[test]
fn every_error_is_in_the_table() {
    let text = read("docs/configuration.md");
    let mut errors = words(&read("gateway/src/error.rs"), "pub fn name(&self)");
    errors.extend(words(&read("gateway/src/admission/shed.rs"), "pub const fn as_str(self)"));
    errors.extend(words(&read("flows/src/adapter.rs"), "pub const fn code(&self)"));
    assert!(errors.len() > 25, "{errors:?}");
    for error in errors {
        assert!(text.lines().any(|line| line.starts_with(&format!("| `{error}` |"))), "no row for `{error}`");
    }
}
