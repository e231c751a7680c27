//! The redaction of a request's attributes, done once: as its logbook becomes a timeline.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::{MASK, REDACTED, Redaction, looks_secret};
use crate::percent::decode_form;
use crate::semconv;
use crate::timeline::{Node, Value};

/// Redacts what requests have noted. Keeps nothing of one request for the next.
#[derive(Debug)]
pub struct Redactor {
    rules: Arc<Redaction>,
    /// What was hidden in this request, raw and decoded: it is hidden in its other texts too.
    hidden: Vec<String>,
    /// Whether what goes by a key is hidden: keys are few, and asking costs more than looking up.
    keys: HashMap<Arc<str>, bool>,
}

/// The most keys whose answer is kept.
const KEYS_MAX: usize = 4_096;

/// Keys whose values are known beforehand or come from a closed list.
const CLOSED: [&str; 8] = [
    semconv::HTTP_ROUTE,
    semconv::URL_TEMPLATE,
    semconv::HTTP_METHOD,
    semconv::CLIENT_ADDRESS,
    "url.scheme",
    "network.protocol.version",
    "server.address",
    "peer",
];

/// A value this short is too likely to stand elsewhere by chance.
const TELLING: usize = 6;

/// The most hidden values of one request that are looked for elsewhere; each costs a search in each of its texts.
const HIDDEN_MAX: usize = 16;

impl Redactor {
    /// By these rules.
    #[must_use]
    pub fn new(rules: Arc<Redaction>) -> Self {
        Self { rules, hidden: Vec::new(), keys: HashMap::new() }
    }

    /// From the next request on by these rules.
    pub fn follow(&mut self, rules: Arc<Redaction>) {
        if *self.rules != *rules {
            self.keys.clear();
            self.rules = rules;
        }
    }

    /// Redacts the attributes of one request's nodes, its own first.
    ///
    /// A secret that is known in one place is a secret in all: a hidden parameter's value that a flow puts into the path
    /// of a call is hidden there as well.
    pub(crate) fn redact(&mut self, nodes: &mut [Node]) {
        self.hidden.clear();
        let client = match nodes.first().and_then(|root| root.attr(semconv::CLIENT_ADDRESS)) {
            Some(Value::Text(address)) => Some(Arc::clone(address)),
            _ => None,
        };
        for node in &mut *nodes {
            let template = match (node.attr(semconv::HTTP_ROUTE), node.attr(semconv::URL_TEMPLATE)) {
                (Some(Value::Text(template)), _) | (None, Some(Value::Text(template))) => Some(Arc::clone(template)),
                _ => None,
            };
            for (key, value) in &mut node.attrs {
                self.attribute(key, value, template.as_deref(), client.as_deref());
            }
        }
        if self.hidden.is_empty() {
            return;
        }
        // The longest first: one may be the beginning of another.
        self.hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        for (key, value) in nodes.iter_mut().flat_map(|node| &mut node.attrs) {
            let Value::Text(text) = value else { continue };
            if CLOSED.contains(&&**key) {
                continue;
            }
            let mask = if key.starts_with("url.") { REDACTED } else { MASK };
            for hidden in &self.hidden {
                if text.contains(hidden.as_str()) {
                    *text = text.replace(hidden.as_str(), mask).into();
                }
            }
        }
    }

    fn hides(&mut self, key: &Arc<str>) -> bool {
        if let Some(known) = self.keys.get(key) {
            return *known;
        }
        let hides = match header(key) {
            Some(name) => self.rules.hides_header(name),
            None => self.rules.hides_field(key),
        };
        if self.keys.len() < KEYS_MAX {
            self.keys.insert(Arc::clone(key), hides);
        }
        hides
    }

    fn attribute(&mut self, key: &Arc<str>, value: &mut Value, template: Option<&str>, client: Option<&str>) {
        let hides = !CLOSED.contains(&&**key) && self.hides(key);
        let Value::Text(text) = value else {
            // A number by the name of tokens is a count; a yes or no tells nothing.
            let hides = hides && !key.contains("tokens") && !matches!(value, Value::Bool(_));
            if hides || looks_secret(&value.to_string()) {
                *value = Value::Text(MASK.into());
            }
            return;
        };
        let mut found = Vec::new();
        let mut tell = |text: &str| found.push(text.to_owned());
        let rules = &self.rules;
        let shown = match &**key {
            semconv::CLIENT_ADDRESS => rules.client(text),
            closed if CLOSED.contains(&closed) => return,
            _ if client == Some(&**text) => rules.client(text),
            semconv::URL_PATH => rules.path_telling(text, template, &mut tell),
            semconv::URL_QUERY => rules.query_telling(text, &mut tell),
            semconv::URL_FULL | semconv::REFERER => rules.url_telling(text, &mut tell),
            _ if hides || looks_secret(text) => {
                // What follows the scheme of `Authorization: Bearer …` is the secret.
                tell(text.rsplit(' ').next().unwrap_or(text));
                Cow::Borrowed(MASK)
            }
            key => match header(key) {
                Some(name) => rules.header_telling(name, text, &mut tell),
                None => rules.text_telling(text, &mut tell),
            },
        };
        if *shown != **text {
            *text = shown.as_ref().into();
        }
        for raw in found {
            let decoded = decode_form(&raw).into_owned();
            for text in [decoded, raw] {
                let room = self.hidden.len() < HIDDEN_MAX && text.len() >= TELLING;
                if room && !self.hidden.contains(&text) {
                    self.hidden.push(text);
                }
            }
        }
    }
}

/// The header whose value an attribute is.
fn header(key: &str) -> Option<&str> {
    ["header.", "http.request.header.", "http.response.header."].iter().find_map(|prefix| key.strip_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use super::super::{ClientAddress, Rules};
    use super::*;

    fn redacted(rules: Rules, attrs: &[(&str, &str)], call: &[(&str, &str)]) -> Vec<String> {
        let text = |(key, value): &(&str, &str)| (Arc::from(*key), Value::Text((*value).into()));
        let mut nodes = crate::timeline::sample().nodes;
        nodes.truncate(2);
        nodes[0].attrs = attrs.iter().map(text).collect();
        nodes[1].attrs = call.iter().map(text).collect();
        let mut redactor = Redactor::new(Arc::new(Redaction::new(&rules).expect("the rules are sound")));
        redactor.redact(&mut nodes);
        nodes.iter().flat_map(|node| &node.attrs).map(|(key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn each_kind_of_attribute_has_its_rule() {
        let attrs = [
            ("http.request.method", "GET"),
            ("http.route", "/users/{token}/carts/{id}"),
            ("url.path", "/users/hunter22/carts/7"),
            ("url.query", "page=2&sig=abcdefgh"),
            ("header.authorization", "Bearer verysecret"),
            ("header.x-tier", "gold"),
            ("tenant", "acme"),
            ("password", "correct horse"),
        ];
        let call = [("url.path", "/internal/hunter22/abcdefgh"), ("note", "asked with verysecret")];
        assert_eq!(
            redacted(Rules::default(), &attrs, &call),
            [
                "http.request.method=GET",
                "http.route=/users/{token}/carts/{id}",
                "url.path=/users/REDACTED/carts/7",
                "url.query=page=2&sig=REDACTED",
                "header.authorization=‹masked›",
                "header.x-tier=gold",
                "tenant=acme",
                "password=‹masked›",
                // A secret that is known in one place is a secret in all.
                "url.path=/internal/REDACTED/REDACTED",
                "note=asked with ‹masked›",
            ]
        );
    }

    #[test]
    fn a_clients_address_is_hidden_wherever_it_stands() {
        let rules = Rules { client: ClientAddress::Network, ..Rules::default() };
        let attrs =
            [("client.address", "203.0.113.9"), ("tenant", "203.0.113.9"), ("header.x-real-ip", "198.51.100.7")];
        assert_eq!(
            redacted(rules, &attrs, &[("peer", "203.0.113.9")]),
            ["client.address=203.0.113.0", "tenant=203.0.113.0", "header.x-real-ip=‹masked›", "peer=203.0.113.9"]
        );
    }

    #[test]
    fn numbers_are_hidden_by_name_but_for_counts() {
        let mut nodes = crate::timeline::sample().nodes;
        nodes.truncate(1);
        let attr = |key: &str, value| (Arc::from(key), value);
        nodes[0].attrs = vec![
            attr("card_number", Value::Int(42)),
            attr("n", Value::Int(4_111_111_111_111_111)),
            attr("input_tokens", Value::Int(512)),
            attr("secret", Value::Bool(true)),
        ];
        Redactor::new(Arc::default()).redact(&mut nodes);
        let shown: Vec<String> = nodes[0].attrs.iter().map(|(_, value)| value.to_string()).collect();
        assert_eq!(shown, [MASK, MASK, "512", "true"]);
    }
}
