//! The registry of names, `telemetry/semconv/registry.yaml`, as tests read it: spans, code and documentation are held to it.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::SpanData;
use serde_json::Value;

use super::{HTTP_STATUS, SUPERSEDED};
use crate::metrics::catalog;

const TEXT: &str = include_str!("../../semconv/registry.yaml");

/// The registry.
pub(crate) struct Registry {
    groups: Vec<Value>,
}

/// An attribute, as the documentation lists it.
#[derive(Debug, Default)]
struct Attribute {
    kind: String,
    brief: String,
    on: Vec<String>,
}

impl Registry {
    pub(crate) fn read() -> Self {
        let page: Value = serde_saphyr::from_str(TEXT).expect("the registry is YAML");
        Self { groups: list(&page["groups"]).to_vec() }
    }

    fn group(&self, id: &str) -> &Value {
        self.groups.iter().find(|group| group["id"] == id).unwrap_or_else(|| panic!("{id} is not in the registry"))
    }

    /// The type of an attribute: as we define it, or as the conventions do, by our annotation.
    fn kind(attribute: &Value) -> &str {
        match &attribute["type"] {
            Value::String(kind) => kind,
            // A closed list of texts.
            Value::Object(_) => "string",
            _ => text(&attribute["annotations"]["type"]),
        }
    }

    /// Its definition: where it has no type, it only refers to one.
    fn definition(&self, name: &str) -> Option<&Value> {
        let ours = list(&self.group("registry.zerver")["attributes"]).iter();
        let all = self.groups.iter().flat_map(|group| list(&group["attributes"]));
        ours.chain(all).find(|one| named(one) == name && !Self::kind(one).is_empty())
    }

    /// The attribute of this group by which a span may carry `key`.
    fn find<'r>(group: &'r Value, key: &str) -> Option<&'r Value> {
        let attributes = list(&group["attributes"]);
        let template = |one: &Value| key.strip_prefix(named(one)).is_some_and(|rest| rest.starts_with('.'));
        attributes.iter().find(|one| named(one) == key).or_else(|| attributes.iter().find(|one| template(one)))
    }

    /// Whether one of the groups has this name.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.groups.iter().any(|group| Self::find(group, key).is_some())
    }

    /// Fails where a span carries what is not in the registry, in another type, or lacks what is required.
    pub(crate) fn hold(&self, span: &SpanData) {
        let internal = || span.name.split(' ').next().unwrap_or("").to_owned();
        let group = match span.span_kind {
            SpanKind::Server => self.group("span.zerver.request"),
            SpanKind::Client => self.group("span.zerver.call"),
            _ => self.group(&format!("span.{}", internal())),
        };
        assert_eq!(format!("{:?}", span.span_kind).to_lowercase(), text(&group["span_kind"]), "{}", span.name);
        self.hold_attributes(&span.name, group, &span.attributes);
        for event in span.events.iter() {
            let group = self.group(&format!("event.{}", event.name));
            assert_eq!(text(&group["name"]), event.name);
            self.hold_attributes(&event.name, group, &event.attributes);
        }
    }

    fn hold_attributes(&self, what: &str, group: &Value, attributes: &[KeyValue]) {
        for KeyValue { key, value, .. } in attributes {
            let one = Self::find(group, key.as_str());
            let one = one.unwrap_or_else(|| panic!("{what}: `{key}` is not in {}", group["id"]));
            let kind = Self::kind(self.definition(named(one)).expect("it has a type"));
            let kind = kind.strip_prefix("template[").and_then(|kind| kind.strip_suffix(']')).unwrap_or(kind);
            let found = match value {
                opentelemetry::Value::Bool(_) => "boolean",
                opentelemetry::Value::I64(_) => "int",
                opentelemetry::Value::F64(_) => "double",
                opentelemetry::Value::String(_) => "string",
                opentelemetry::Value::Array(opentelemetry::Array::String(_)) => "string[]",
                other => panic!("{what}: `{key}` is {other:?}"),
            };
            assert_eq!(found, kind, "{what}: `{key}`");
            let members = self.definition(named(one)).map_or(&[][..], |one| list(&one["type"]["members"]));
            let known = members.iter().any(|member| member["value"] == *value.as_str());
            assert!(members.is_empty() || known, "{what}: `{key}` is `{value}`");
        }
        for one in list(&group["attributes"]).iter().filter(|one| one["requirement_level"] == "required") {
            let there = attributes.iter().any(|attribute| attribute.key.as_str() == named(one));
            assert!(there, "{what}: `{}` is missing in {attributes:?}", named(one));
        }
    }

    /// Every attribute that spans, records and metrics carry, with the kinds of them that do.
    fn attributes(&self) -> BTreeMap<String, Attribute> {
        let mut all: BTreeMap<String, Attribute> = BTreeMap::new();
        for group in self.groups.iter().filter(|group| group["id"] != "registry.zerver") {
            let id = text(&group["id"]);
            let on = match id.strip_prefix("span.zerver.").or_else(|| id.strip_prefix("event.zerver.")) {
                Some(kind) if kind.starts_with("job.") => {
                    if id.starts_with("span") {
                        "wait"
                    } else {
                        "event"
                    }
                }
                Some(kind) => kind,
                None if id.starts_with("metric.") => "metrics",
                None => "access log",
            };
            for one in list(&group["attributes"]) {
                let definition = self.definition(named(one)).unwrap_or_else(|| panic!("{} has no type", named(one)));
                let attribute = all.entry(named(one).to_owned()).or_default();
                attribute.kind = Self::kind(definition).to_owned();
                attribute.brief = text(&definition["brief"]).to_owned();
                if !attribute.on.iter().any(|there| there == on) {
                    attribute.on.push(on.to_owned());
                }
            }
        }
        all
    }
}

fn named(attribute: &Value) -> &str {
    attribute["id"].as_str().unwrap_or_else(|| text(&attribute["ref"]))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn ours_are_defined_once_and_all_that_is_defined_is_used() {
    let registry = Registry::read();
    let (mut ours, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for group in &registry.groups {
        assert!(ids.insert(text(&group["id"])), "{} stands twice", group["id"]);
        assert!(!text(&group["brief"]).is_empty() && !text(&group["stability"]).is_empty(), "{}", group["id"]);
    }
    for one in list(&registry.group("registry.zerver")["attributes"]) {
        let name = named(one);
        assert!(name.starts_with("zerver.") && ours.insert(name), "{name}");
        assert!(text(&one["brief"]).ends_with('.') && one["stability"] == "development", "{name}");
        let kinds = ["string", "int", "double", "boolean", "template[string]"];
        assert!(kinds.contains(&Registry::kind(one)), "{name}");
        let shown = list(&one["examples"]).len() + list(&one["type"]["members"]).len();
        assert!(shown > 0 || one["type"] == "boolean", "{name} has no example");
    }
    let used = registry.attributes();
    for name in &ours {
        assert!(used.contains_key(*name), "{name} stands on nothing");
    }
    for (name, attribute) in &used {
        assert!(ours.contains(name.as_str()) || !name.starts_with("zerver."), "{name} is not defined");
        assert!(!attribute.kind.is_empty() && attribute.brief.ends_with('.'), "{name}: {attribute:?}");
        let old = SUPERSEDED.iter().find(|(old, _)| *old == name);
        assert_eq!(old, None);
    }
}

/// The conventions' rule for names: what stands before a dot is a namespace, and no name is one.
#[test]
fn no_name_is_a_namespace() {
    let registry = Registry::read();
    let metrics = registry.groups.iter().map(|group| text(&group["metric_name"]));
    let names: BTreeSet<String> =
        registry.attributes().into_keys().chain(metrics.map(str::to_owned)).filter(|name| !name.is_empty()).collect();
    let template =
        |name: &str| registry.definition(name).is_some_and(|one| Registry::kind(one).starts_with("template"));
    for name in names.iter().filter(|name| !template(name)) {
        let below =
            names.iter().find(|other| other.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.')));
        assert_eq!(below, None, "{name} is a name");
    }
}

#[test]
fn metrics_are_those_of_the_catalogue() {
    let registry = Registry::read();
    let ours = || catalog::ALL.iter().filter(|metric| metric.otel.starts_with("zerver."));
    for metric in ours() {
        let group = registry.group(&format!("metric.{}", metric.otel));
        let instrument = metric.kind.as_str();
        for (key, expected) in [
            ("type", "metric"),
            ("metric_name", metric.otel),
            ("instrument", instrument),
            ("unit", metric.unit.ucum()),
            ("brief", metric.help),
        ] {
            assert_eq!(text(&group[key]), expected, "{}: {key}", metric.otel);
        }
        let attributes: Vec<&str> = list(&group["attributes"]).iter().map(named).collect();
        assert_eq!(attributes, metric.attributes, "{}", metric.otel);
        // Those of the conventions mean what they mean there; ours are our own.
        let sound =
            |name: &&&str| name.starts_with("zerver.") || ["error.type", "service.version", HTTP_STATUS].contains(name);
        assert_eq!(attributes.iter().filter(|name| !sound(name)).count(), 0, "{}", metric.otel);
    }
    let listed = registry.groups.iter().filter(|group| group["type"] == "metric").count();
    assert_eq!(listed, ours().count());
}

/// A name that the code spells out and the registry does not have is a slip of one of them.
#[test]
fn every_constant_is_in_the_registry() {
    let registry = Registry::read();
    let code = include_str!("../semconv.rs");
    let names = code.lines().filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1));
    let unknown: Vec<&str> = names.filter(|name| !registry.knows(name)).collect();
    assert_eq!(unknown, [""; 0]);
    assert!(!registry.knows("http.method") && !registry.knows("zerver.nothing"));
}

#[test]
fn the_documentation_lists_exactly_these() {
    let row = |(name, Attribute { kind, brief, on }): (&String, &Attribute)| {
        let template = kind.strip_prefix("template[").and_then(|kind| kind.strip_suffix(']'));
        let (name, kind) = template.map_or((name.clone(), kind.as_str()), |kind| (format!("{name}.{{name}}"), kind));
        format!("| `{name}` | {kind} | {} | {brief} |", on.join(", "))
    };
    let rows: Vec<String> = Registry::read().attributes().iter().map(row).collect();
    let document = include_str!("../../../docs/telemetry.md");
    let head = "| attribute | type | on | meaning |";
    let table = document.split_once(head).expect("there is a table of attributes").1;
    let listed: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(listed, rows, "docs/telemetry.md should hold:\n{}", rows.join("\n"));
}
