//! The attribute keys and well-known names that the gateway writes into timelines, interned once.

use zerver_telemetry::names::{Name, Names};

macro_rules! keys {
    ($($(#[$doc:meta])* $field:ident = $text:literal),* $(,)?) => {
        /// The interned names, one field each.
        #[derive(Clone, Copy, Debug)]
        pub struct Keys {
            $($(#[$doc])* pub $field: Name,)*
        }

        #[cfg(test)]
        const KEYS: &[&str] = &[$($text),*];

        impl Keys {
            /// Interns them all.
            #[must_use]
            pub fn new(names: &Names) -> Self {
                Self { $($field: names.intern($text),)* }
            }
        }
    };
}

keys! {
    /// The request's method.
    method = "http.request.method",
    /// The pattern that the path matched.
    route = "http.route",
    /// The path, without its query.
    path = "url.path",
    /// The query, redacted before anybody sees it.
    query = "url.query",
    /// The page that led to the request.
    referer = "zerver.referer",
    /// The request's identity, where its client gave it one.
    request_id = "zerver.request.id",
    /// `http` or `https`.
    scheme = "url.scheme",
    /// The host asked for.
    server_address = "server.address",
    /// The client's address.
    client_address = "client.address",
    /// The client's user agent.
    user_agent = "user_agent.original",
    /// `1.1` or `2`.
    protocol_version = "network.protocol.version",
    /// Whose request it is.
    tenant = "tenant",
    /// Bytes of the request's body.
    request_bytes = "http.request.body.size",
    /// Bytes of the answer's body.
    response_bytes = "http.response.body.size",
    /// The upstream's address that was used.
    peer = "peer",
    /// The peer's port.
    server_port = "server.port",
    /// Whether a kept connection was used.
    reused = "zerver.connection.reused",
    /// The rate limit that decided.
    limit = "zerver.limit.name",
    /// Requests with the upstream when this one came.
    in_flight = "zerver.in_flight",
    /// Requests waiting for the upstream when this one came.
    waiting = "zerver.waiting",
    /// What the upstream's circuit breaker does with this try: `open` or `half_open` when it refuses it, or `probe`.
    breaker = "zerver.breaker.decision",
    /// What went out along the trace.
    tracestate = "zerver.tracestate",
    /// The client, as what a request waits for.
    client = "client",
    /// The pause before a retry.
    back_off = "back_off",
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the gateway notes has its name in the registry, so that the documentation and the checks know it.
    #[test]
    fn every_key_is_in_the_registry() {
        let registry = include_str!("../../telemetry/semconv/registry.yaml");
        // What a request waits for is a value, the peer becomes `network.peer.*`, and the `tracestate` has its own place.
        let others = ["client", "back_off", "peer", "zerver.tracestate"];
        for key in KEYS.iter().filter(|key| !others.contains(key)) {
            let key = zerver_telemetry::semconv::key(&(*key).into());
            let stands = ["id: ", "ref: "].iter().any(|word| {
                registry
                    .match_indices(&format!("{word}{key}"))
                    .any(|(at, found)| registry[at + found.len()..].starts_with(['\n', ',', ' ']))
            });
            assert!(stands, "{key} is not in telemetry/semconv/registry.yaml");
        }
    }
}
