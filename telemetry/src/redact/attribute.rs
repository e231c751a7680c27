//! The redaction of a request's attributes, done once: as its logbook becomes a timeline.

use std::borrow::Cow;
use std::sync::Arc;

use super::{MASK, REDACTED, Redaction, looks_secret};
use crate::hash::{Map, address};
use crate::percent::decode_form;
use crate::semconv;
use crate::timeline::{Node, Value};

/// Redacts what requests have noted. Keeps nothing of one request for the next but that a text needs nothing.
#[derive(Debug)]
pub struct Redactor {
    rules: Arc<Redaction>,
    /// What was hidden in this request, raw and decoded: it is hidden in its other texts too.
    hidden: Vec<String>,
    /// What is done with each key's values: keys are few, and asking costs more than looking up.
    keys: Keys,
}

/// The most keys that are known.
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

/// A whole number below this, and above its negative, has too few digits for a payment card.
const CARD_MIN: u64 = 100_000_000_000;

/// What a key's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The route's template.
    Route,
    /// The template of a call's path.
    Template,
    /// The client's address.
    Client,
    /// Known beforehand, or of a closed list.
    Closed,
    Path,
    Query,
    Url,
    /// A header whose value may be shown, or else a text.
    Header,
    Text,
}

/// What is known of a key.
#[derive(Debug)]
struct Known {
    key: Arc<str>,
    class: Class,
    hides: bool,
    /// A number by the name of tokens is a count.
    counts: bool,
    /// The latest of its texts that needed nothing, whatever the request: who notes the same text again shares it.
    plain: Option<Arc<str>>,
}

/// What is known of keys, by where they stand in memory: each is held here, so that nothing else can come to stand there.
#[derive(Debug, Default)]
struct Keys {
    known: Vec<Known>,
    places: Map<usize, u32>,
    /// Where the keys of the request before stood, and what they are: requests of a route note the same in the same order.
    before: Vec<(usize, u32)>,
    /// A key for which there was no room.
    other: Option<Known>,
}

impl Keys {
    /// What is known of the `nth` key of a request.
    fn get(&mut self, nth: usize, key: &Arc<str>, rules: &Redaction) -> &mut Known {
        let place = address(key);
        let number = match self.before.get(nth) {
            Some((before, number)) if *before == place => *number,
            _ => match self.number(place, key, rules) {
                Some(number) => {
                    if self.before.len() <= nth {
                        self.before.resize(nth + 1, (0, 0));
                    }
                    self.before[nth] = (place, number);
                    number
                }
                None => return self.other.insert(Known::new(key, rules)),
            },
        };
        &mut self.known[number as usize]
    }

    fn number(&mut self, place: usize, key: &Arc<str>, rules: &Redaction) -> Option<u32> {
        if let Some(number) = self.places.get(&place) {
            return Some(*number);
        }
        if self.known.len() >= KEYS_MAX {
            return None;
        }
        let number = self.known.len() as u32;
        self.known.push(Known::new(key, rules));
        self.places.insert(place, number);
        Some(number)
    }
}

impl Known {
    fn new(key: &Arc<str>, rules: &Redaction) -> Self {
        let class = match &**key {
            semconv::HTTP_ROUTE => Class::Route,
            semconv::URL_TEMPLATE => Class::Template,
            semconv::CLIENT_ADDRESS => Class::Client,
            closed if CLOSED.contains(&closed) => Class::Closed,
            semconv::URL_PATH => Class::Path,
            semconv::URL_QUERY => Class::Query,
            semconv::URL_FULL | semconv::REFERER => Class::Url,
            key if header(key).is_some() => Class::Header,
            _ => Class::Text,
        };
        let hides = match header(key) {
            _ if CLOSED.contains(&&**key) => false,
            Some(name) => rules.hides_header(name),
            None => rules.hides_field(key),
        };
        Self { key: Arc::clone(key), class, hides, counts: key.contains("tokens"), plain: None }
    }

    /// Redacts one value; gives what was hidden in it to `found`.
    fn value(&mut self, value: &mut Value, rules: &Redaction, about: &About, found: &mut Vec<String>) {
        let long = match value {
            Value::Int(n) => n.unsigned_abs() >= CARD_MIN,
            Value::Float(x) => x.abs() >= CARD_MIN as f64,
            // A yes or no tells nothing.
            Value::Bool(_) => return,
            Value::Text(_) => false,
        };
        let Value::Text(text) = value else {
            if (self.hides && !self.counts) || (long && looks_secret(&value.to_string())) {
                *value = Value::Text(MASK.into());
            }
            return;
        };
        if matches!(self.class, Class::Route | Class::Template | Class::Closed) {
            return;
        }
        let client = about.client.as_deref() == Some(&**text);
        if !client && self.plain.as_ref().is_some_and(|plain| Arc::ptr_eq(plain, text)) {
            return;
        }
        let before = found.len();
        let mut tell = |text: &str| found.push(text.to_owned());
        let shown = match self.class {
            _ if client => rules.client(text),
            Class::Client => rules.client(text),
            Class::Path => rules.path_telling(text, about.template.as_deref(), &mut tell),
            Class::Query => rules.query_telling(text, &mut tell),
            Class::Url => rules.url_telling(text, &mut tell),
            _ if self.hides || looks_secret(text) => {
                // What follows the scheme of `Authorization: Bearer …` is the secret.
                tell(text.rsplit(' ').next().unwrap_or(text));
                Cow::Borrowed(MASK)
            }
            Class::Header => rules.header_telling(header(&self.key).unwrap_or_default(), text, &mut tell),
            _ => rules.text_telling(text, &mut tell),
        };
        if *shown != **text {
            *text = shown.as_ref().into();
        } else if found.len() == before && matches!(self.class, Class::Header | Class::Text) {
            self.plain = Some(Arc::clone(text));
        }
    }
}

/// What the redaction of a value may depend on besides its key.
#[derive(Debug, Default)]
struct About {
    client: Option<Arc<str>>,
    /// The template of the node's path.
    template: Option<Arc<str>>,
}

impl Redactor {
    /// By these rules.
    #[must_use]
    pub fn new(rules: Arc<Redaction>) -> Self {
        Self { rules, hidden: Vec::new(), keys: Keys::default() }
    }

    /// From the next request on by these rules.
    pub fn follow(&mut self, rules: Arc<Redaction>) {
        if *self.rules != *rules {
            self.keys = Keys::default();
            self.rules = rules;
        }
    }

    /// Redacts the attributes of one request's nodes, its own first.
    ///
    /// A secret that is known in one place is a secret in all: a hidden parameter's value that a flow puts into the path
    /// of a call is hidden there as well.
    pub(crate) fn redact(&mut self, nodes: &mut [Node]) {
        self.hidden.clear();
        let mut about = About::default();
        let mut found = Vec::new();
        let mut first = 0;
        for (place, node) in nodes.iter_mut().enumerate() {
            let (mut route, mut template) = (None, None);
            for (nth, (key, value)) in (first..).zip(&node.attrs) {
                let Value::Text(text) = value else { continue };
                match self.keys.get(nth, key, &self.rules).class {
                    Class::Route => route = route.or(Some(text)),
                    Class::Template => template = template.or(Some(text)),
                    Class::Client if place == 0 && about.client.is_none() => about.client = Some(Arc::clone(text)),
                    _ => {}
                }
            }
            about.template = route.or(template).map(Arc::clone);
            for (nth, (key, value)) in (first..).zip(&mut node.attrs) {
                self.keys.get(nth, key, &self.rules).value(value, &self.rules, &about, &mut found);
            }
            first += node.attrs.len();
            found.drain(..).for_each(|raw| self.hide(raw));
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

    /// From now on this is looked for in the request's other texts.
    fn hide(&mut self, raw: String) {
        let decoded = decode_form(&raw).into_owned();
        for text in [decoded, raw] {
            let room = self.hidden.len() < HIDDEN_MAX && text.len() >= TELLING;
            if room && !self.hidden.contains(&text) {
                self.hidden.push(text);
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
