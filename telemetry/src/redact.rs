//! What must not be shown, in one place: the rules that logs, spans, timelines, captures and debug answers all obey.
//!
//! Without any rule the names and forms of secrets are known ([`is_secret_name`], [`looks_secret`]); [`Rules`] add to that.
//! What a request notes is redacted once, where its logbook is read into a timeline, so that whoever reads timelines —
//! spans, the access log, the admin pages, captures, the comparison — has nothing left to leak. Masking is for showing, not
//! for keeping: what is masked is gone.

mod pattern;
mod prose;
mod secret;
mod url;
mod attribute;

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use pattern::Patterns;
use secret::is_card;

pub use attribute::Redactor;
pub use secret::{is_secret_name, looks_secret};

/// Stands in the place of what is not shown.
pub const MASK: &str = "‹masked›";

/// The same inside paths, queries and addresses, as OpenTelemetry's conventions for `url.*` prescribe it.
pub const REDACTED: &str = "REDACTED";

/// Headers that no rule can show.
const NEVER_SHOWN: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Query parameters that are hidden besides those with a secret's name: signatures of signed addresses (the list of
/// OpenTelemetry's `url.query`, the rest of which [`is_secret_name`] knows), the code of OAuth 2.0 (RFC 6749, 4.1.2).
const QUERY: [&str; 2] = ["sig", "code"];

/// What is hidden besides what is known to be secret, and what is shown although it looks so.
///
/// Names may hold `*` for any part; case does not count, and `_` is `-`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Headers.
    pub headers: Vec<String>,
    /// Query parameters.
    pub query: Vec<String>,
    /// Parameters of route templates (`invite` hides the segment of `/join/{invite}`), or whole templates, whose every
    /// parameter is hidden on any path they match: `/reset/{code}`.
    pub path: Vec<String>,
    /// Fields of JSON values, notes and attributes, fields of log lines.
    pub fields: Vec<String>,
    /// Names that are shown although they look secret, such as `max_tokens`.
    pub show: Vec<String>,
    /// What is shown of a client's address.
    pub client: ClientAddress,
}

/// What is shown of a client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAddress {
    /// All of it.
    #[default]
    Full,
    /// Its network: the first three bytes of IPv4 (`203.0.113.0`), the first 48 bits of IPv6.
    Network,
    /// Nothing.
    Hidden,
}

/// A rule that cannot hide anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rule `{rule}` of `{list}` {why}")]
pub struct BadRule {
    /// Which list it stands in.
    pub list: &'static str,
    /// Its place there, from 0.
    pub place: usize,
    /// The rule.
    pub rule: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The rules, ready for use. A value: gateways in one process have their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    headers: Patterns,
    query: Patterns,
    path: Patterns,
    /// Split at slashes.
    templates: Vec<Vec<String>>,
    fields: Patterns,
    show: Patterns,
    client: ClientAddress,
}

impl Redaction {
    /// Reads the rules.
    ///
    /// # Errors
    /// The first rule that can hide nothing.
    pub fn new(rules: &Rules) -> Result<Self, BadRule> {
        let bad = |list, from: &[String], place: usize, why| BadRule { list, place, rule: from[place].clone(), why };
        let patterns = |list, from: &[String]| Patterns::new(from).map_err(|(place, why)| bad(list, from, place, why));
        let mut templates = Vec::new();
        let mut names = Vec::new();
        for (place, rule) in rules.path.iter().enumerate() {
            if !rule.starts_with('/') {
                Patterns::new(std::slice::from_ref(rule)).map_err(|(_, why)| bad("path", &rules.path, place, why))?;
                names.push(rule.clone());
                continue;
            }
            let template: Vec<String> = rule.split('/').map(str::to_owned).collect();
            if !template.iter().any(|part| part.starts_with('{') && part.ends_with('}')) {
                let why = "names no segment to hide; write `{…}` in its place, as in `/reset/{code}`";
                return Err(bad("path", &rules.path, place, why));
            }
            templates.push(template);
        }
        Ok(Self {
            headers: patterns("headers", &rules.headers)?,
            query: patterns("query", &rules.query)?,
            path: patterns("path", &names)?,
            templates,
            fields: patterns("fields", &rules.fields)?,
            show: patterns("show", &rules.show)?,
            client: rules.client,
        })
    }

    fn hides(&self, own: &Patterns, name: &str) -> bool {
        own.matches(name) || (is_secret_name(name) && !self.show.matches(name))
    }

    /// Whether the value of this header is hidden.
    #[must_use]
    pub fn hides_header(&self, name: &str) -> bool {
        let forwarded = ["x-forwarded-for", "forwarded", "x-real-ip"];
        NEVER_SHOWN.iter().any(|never| name.eq_ignore_ascii_case(never))
            || (self.client != ClientAddress::Full && forwarded.iter().any(|f| name.eq_ignore_ascii_case(f)))
            || self.hides(&self.headers, name)
    }

    /// Whether what goes by this name in a JSON value, a note or a log line is hidden.
    #[must_use]
    pub fn hides_field(&self, name: &str) -> bool {
        self.hides(&self.fields, name)
    }

    fn hides_query(&self, name: &str) -> bool {
        let ours = QUERY.iter().any(|known| name.eq_ignore_ascii_case(known)) && !self.show.matches(name);
        ours || self.hides(&self.query, name)
    }

    /// A header's value as it may be shown.
    #[must_use]
    pub fn header<'v>(&self, name: &str, value: &'v str) -> Cow<'v, str> {
        if self.hides_header(name) { Cow::Borrowed(MASK) } else { self.header_telling(name, value, &mut |_| {}) }
    }

    /// Of a header that is not hidden by its name: some hold addresses.
    fn header_telling<'v>(&self, name: &str, value: &'v str, hidden: &mut dyn FnMut(&str)) -> Cow<'v, str> {
        let addresses = ["referer", "location", "content-location", "x-original-url"];
        if addresses.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            self.url_telling(value, hidden)
        } else {
            self.text_telling(value, hidden)
        }
    }

    /// A query, without its question mark, as it may be shown: keys stay, hidden values read [`REDACTED`].
    #[must_use]
    pub fn query<'q>(&self, query: &'q str) -> Cow<'q, str> {
        self.query_telling(query, &mut |_| {})
    }

    fn query_telling<'q>(&self, query: &'q str, hidden: &mut dyn FnMut(&str)) -> Cow<'q, str> {
        let asked =
            url::Asked { name: |name: &str| self.hides_query(name), value: |text: &str| self.is_hidden_text(text) };
        url::query(query, REDACTED, &asked, hidden)
    }

    /// A path as it may be shown; `template` is the route's (`/users/{token}`), where one is known.
    #[must_use]
    pub fn path<'p>(&self, path: &'p str, template: Option<&str>) -> Cow<'p, str> {
        self.path_telling(path, template, &mut |_| {})
    }

    fn path_telling<'p>(&self, path: &'p str, template: Option<&str>, hidden: &mut dyn FnMut(&str)) -> Cow<'p, str> {
        let name = |name: &str| self.hides(&self.path, name);
        let asked = url::Asked { name, value: |text: &str| looks_secret(text) };
        url::path(path, template, &self.templates, REDACTED, &asked, hidden)
    }

    /// An address as it may be shown: user, secret segments and secret query values hidden, the fragment left out.
    #[must_use]
    pub fn url<'u>(&self, url: &'u str) -> Cow<'u, str> {
        self.url_telling(url, &mut |_| {})
    }

    fn url_telling<'u>(&self, url: &'u str, hidden: &mut dyn FnMut(&str)) -> Cow<'u, str> {
        let (head, path, query) = url::parts(url, REDACTED, hidden);
        let path = self.path_telling(path, None, hidden);
        let mut shown = format!("{head}{path}");
        if let Some(query) = query {
            shown.push('?');
            shown.push_str(&self.query_telling(query, hidden));
        }
        if shown == url { Cow::Borrowed(url) } else { Cow::Owned(shown) }
    }

    /// A text for people as it may be shown: what stands behind a hidden name or looks like a secret is masked.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.text_telling(text, &mut |_| {})
    }

    fn text_telling<'t>(&self, text: &'t str, hidden: &mut dyn FnMut(&str)) -> Cow<'t, str> {
        if looks_secret(text) {
            hidden(text);
            return Cow::Borrowed(MASK);
        }
        prose::prose(text, MASK, |name| self.hides_field(name), hidden)
    }

    fn is_hidden_text(&self, text: &str) -> bool {
        matches!(self.text(text), Cow::Owned(_)) || looks_secret(text)
    }

    /// A field of a log line, or a note, as it may be shown.
    #[must_use]
    pub fn field<'t>(&self, name: &str, text: &'t str) -> Cow<'t, str> {
        if self.hides_field(name) { Cow::Borrowed(MASK) } else { self.text(text) }
    }

    /// A client's address as it may be shown; what is no address is hidden unless all is shown.
    #[must_use]
    pub fn client<'a>(&self, address: &'a str) -> Cow<'a, str> {
        match (self.client, address.parse::<IpAddr>()) {
            (ClientAddress::Full, _) => Cow::Borrowed(address),
            (ClientAddress::Network, Ok(IpAddr::V4(v4))) => {
                let [a, b, c, _] = v4.octets();
                Cow::Owned(format!("{a}.{b}.{c}.0"))
            }
            (ClientAddress::Network, Ok(IpAddr::V6(v6))) => {
                let [a, b, c, ..] = v6.segments();
                Cow::Owned(std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string())
            }
            _ => Cow::Borrowed(MASK),
        }
    }

    /// Masks everything in a JSON value that must not be shown.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(shown) = self.text(text) {
                    *text = shown;
                } else if looks_secret(text) {
                    *value = MASK.into();
                }
            }
            Value::Number(number) if is_card(&number.to_string()) => *value = MASK.into(),
            Value::Array(list) => list.iter_mut().for_each(|value| self.value(value)),
            Value::Object(map) => {
                for (name, value) in map {
                    if self.hides_field(name) && !value.is_null() {
                        *value = MASK.into();
                    } else {
                        self.value(value);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
