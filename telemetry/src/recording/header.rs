//! The first line of a recording: which form it has, who wrote it, whence and when.

use serde::{Deserialize, Deserializer, Serialize};

/// The form that is written: a header, then packed timelines in frames.
pub const FORM: u32 = 2;
/// The first form: a header, then a timeline in each line, as JSON.
pub const FORM_LINES: u32 = 1;

/// The first line of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The form: [`FORM`] or [`FORM_LINES`].
    pub zrec: u32,
    /// The version of zerver that wrote it.
    #[serde(default)]
    pub zerver: String,
    /// The gateway it was taken from.
    #[serde(default, deserialize_with = "name")]
    pub gateway: String,
    /// When it was written, nanoseconds since the Unix epoch.
    #[serde(default)]
    pub written_unix_ns: u64,
}

impl Header {
    /// The header of a recording written by this build.
    #[must_use]
    pub fn new(gateway: &str, written_unix_ns: u64) -> Self {
        let zerver = env!("CARGO_PKG_VERSION").to_owned();
        Self { zrec: FORM, zerver, gateway: gateway.to_owned(), written_unix_ns }
    }

    /// The same for a recording of lines of JSON, ten times as long, for who wants to search it with text tools.
    #[must_use]
    pub fn in_lines(self) -> Self {
        Self { zrec: FORM_LINES, ..self }
    }
}

/// A gateway's name; some headers have it in an object, as the admin API has.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let name = value.as_str().or_else(|| value.get("name")?.as_str());
    Ok(name.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_a_name_or_has_one() {
        for (json, expected) in
            [(r#""gw-1""#, "gw-1"), (r#"{"name":"gw-1","version":"0.1.0"}"#, "gw-1"), ("7", ""), ("null", "")]
        {
            let header: Header = serde_json::from_str(&format!(r#"{{"zrec":1,"gateway":{json}}}"#)).expect("a header");
            assert_eq!(header.gateway, expected);
        }
    }
}
