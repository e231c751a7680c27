//! Every example works as written, and the two checkouts are one flow.

#[path = "../../checkout/flow.rs"]
mod flow;
mod docs;
mod gateway;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zerver::config::flows::remarks;
use zerver::gateway::{Page, check};
use zerver::plan::Own;
use zerver_flows::Flow;
use zerver_flows::lint::lint;

/// The folder of the examples.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every YAML file below the folder.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let files = std::fs::read_dir(entry.path()).unwrap().map(|file| file.unwrap().path());
        found.extend(files.filter(|path| path.extension().is_some_and(|end| end == "yaml")));
    }
    found
}

#[test]
fn every_page_is_sound() {
    let pages = pages();
    assert!(pages.len() >= 4, "{pages:?}");
    for page in pages {
        let own = if page.ends_with("zerver-rust.yaml") { vec![flow::checkout()].into() } else { Own::default() };
        let plan = check(&Page::File(page), &own, &|_| None).unwrap_or_else(|rejected| panic!("{rejected}"));
        assert!(plan.route_list().iter().all(|route| !route.to.is_empty()));
    }
}

#[test]
fn no_flow_is_seldom_meant() {
    let mut linted = 0;
    for page in pages() {
        let own = if page.ends_with("zerver-rust.yaml") { vec![flow::checkout()].into() } else { Own::default() };
        let plan = check(&Page::File(page), &own, &|_| None).unwrap_or_else(|rejected| panic!("{rejected}"));
        for bound in plan.flows.values() {
            let graph = bound.flow().graph();
            let known = remarks(plan.document.flows.iter().map(|page| &**page), graph.slug());
            assert_eq!(lint(graph, &known), vec![]);
            linted += 1;
        }
    }
    assert_eq!(linted, 2);
}

/// The flow of `checkout/zerver.yaml`.
fn from_yaml() -> Flow {
    let page = Page::File(folder().join("checkout/zerver.yaml"));
    let plan = check(&page, &Own::default(), &|_| None).unwrap_or_else(|rejected| panic!("{rejected}"));
    plan.flows["checkout"].flow().clone()
}

#[test]
fn a_checkout_takes_no_more_lines_than_its_readme_says() {
    let lines = |file: &str, begin: &str, end: &str| {
        let text = std::fs::read_to_string(folder().join("checkout").join(file)).unwrap();
        let flow = text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(flow, _)| flow.to_owned());
        flow.unwrap_or_else(|| panic!("{file} has no `{begin}`")).lines().count()
    };
    let (rust, yaml) = (lines("flow.rs", "#[flow(", "\n}\n"), lines("zerver.yaml", "flows:\n", "\nroutes:"));
    // The brace that ends the function is a line too.
    assert_eq!((rust + 1, yaml), (16, 24));
}

#[test]
fn both_checkouts_have_one_graph() {
    /// All that says what runs when; not where it is written, nor the names of Rust functions.
    fn shape(flow: &Flow) -> Value {
        let graph = flow.graph().to_json();
        let node = |node: &Value| {
            let keys =
                ["name", "level", "reads", "after", "optional", "conditional", "timeout_ms", "retries", "targets"];
            let mut shape = Value::from_iter(keys.map(|key| (key.to_owned(), node[key].clone())));
            // A Rust step reads in the order of its parameters, a YAML step in the order of its mentions.
            if let Some(reads) = shape["reads"].as_array_mut() {
                reads.sort_by_key(ToString::to_string);
            }
            shape
        };
        let nodes: Vec<Value> = graph["nodes"].as_array().unwrap().iter().map(node).collect();
        json!([graph["flow"], graph["version"], graph["owner"], graph["deadline_ms"], graph["critical_path"], nodes])
    }
    let (yaml, rust) = (shape(&from_yaml()), shape(&flow::checkout()));
    assert_eq!(yaml[5].as_array().unwrap().len(), 7);
    assert_eq!(yaml, rust, "\nyaml {yaml:#}\nrust {rust:#}");
}
