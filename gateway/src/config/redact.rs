//! Settings of what is not shown: rules beside those that need no telling, for logs, spans, timelines and debug answers alike.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zerver_telemetry::redact::{ClientAddress, Redaction, Rules};

use super::placed::Placed;
use super::problem::Problem;

/// What is hidden besides what is known to be secret. Names may hold `*`; case does not count, and `_` is `-`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redact {
    /// Headers.
    pub headers: Vec<Placed<String>>,
    /// Query parameters, whose values read `REDACTED`.
    pub query: Vec<Placed<String>>,
    /// Path parameters by their name in the route's path (`invite` for `/join/{invite}`), or whole paths whose every parameter
    /// is hidden whatever route they take: `/reset/{code}`.
    pub path: Vec<Placed<String>>,
    /// Fields of JSON values, notes in timelines, fields of log lines.
    pub fields: Vec<Placed<String>>,
    /// Names that are shown although they look secret, such as `max_tokens`. Credentials in headers stay hidden.
    pub show: Vec<Placed<String>>,
    /// What is shown of clients' addresses (default `full`).
    pub client: Client,
}

/// What is shown of clients' addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Client {
    /// All of it.
    #[default]
    Full,
    /// Their network: three bytes of IPv4, 48 bits of IPv6.
    Network,
    /// Nothing.
    Hidden,
}

impl Redact {
    /// The rules, ready for use.
    ///
    /// # Errors
    /// The first rule that can hide nothing, at its place.
    pub fn compile(&self) -> Result<Redaction, Box<Problem>> {
        let texts = |list: &[Placed<String>]| list.iter().map(|rule| (**rule).clone()).collect();
        let rules = Rules {
            headers: texts(&self.headers),
            query: texts(&self.query),
            path: texts(&self.path),
            fields: texts(&self.fields),
            show: texts(&self.show),
            client: match self.client {
                Client::Full => ClientAddress::Full,
                Client::Network => ClientAddress::Network,
                Client::Hidden => ClientAddress::Hidden,
            },
        };
        Redaction::new(&rules).map_err(|bad| {
            let lists = [
                ("headers", &self.headers),
                ("query", &self.query),
                ("path", &self.path),
                ("fields", &self.fields),
                ("show", &self.show),
            ];
            let list = lists.iter().find(|(name, _)| *name == bad.list).map(|(_, list)| *list);
            let place = list.and_then(|list| list.get(bad.place)).map(Placed::place).unwrap_or_default();
            let problem = Problem::at(place, format!("the rule `{}` of `redact.{}` {}", bad.rule, bad.list, bad.why))
                .help("a rule is a name, in which `*` stands for any part; in `redact.path` also a path such as `/reset/{code}`");
            Box::new(problem)
        })
    }
}
