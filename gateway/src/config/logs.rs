//! Settings of the logs: how much the program says, which requests are noted, in which form, and where to.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zerver_telemetry::logs::{AccessForm, RecordForm, Target};

use super::duration;
use super::placed::Placed;

/// The application log: what the program says.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How much: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), and `target=level` for single modules, such as
    /// `info,zerver::admission=debug` (default `info`; `RUST_LOG` and `ZER_LOG` override it; `PUT /log` changes it at run time).
    pub level: Placed<String>,
    /// Its form (default `text`; `ZER_LOG_FORMAT` overrides it).
    pub format: Format,
    /// Where to: `stdout`, `stderr` or a file's path (default `stderr`).
    pub to: Placed<String>,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Placed::nowhere("info".into()), format: Format::Text, to: Placed::nowhere("stderr".into()) }
    }
}

/// The form of the application log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For reading.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl From<Format> for RecordForm {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// The access log: a line for each request that ended.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// Its form (default `json`).
    pub format: AccessFormat,
    /// Where to: `stdout`, `stderr` or a file's path (default `stdout`).
    pub to: Placed<String>,
    /// Which requests (default `all`).
    pub only: Only,
    /// With `only: slow`, what takes longer than this is slow (default 1s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub slow: Duration,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            format: AccessFormat::Json,
            to: Placed::nowhere("stdout".into()),
            only: Only::All,
            slow: Duration::from_secs(1),
        }
    }
}

/// The form of the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// The common log format, the trace id in its second field.
    Common,
    /// The same with referring page and user agent.
    Combined,
}

impl From<AccessFormat> for AccessForm {
    fn from(format: AccessFormat) -> Self {
        match format {
            AccessFormat::Json => Self::Json,
            AccessFormat::Common => Self::Common,
            AccessFormat::Combined => Self::Combined,
        }
    }
}

/// Which requests the access log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// Every one.
    #[default]
    All,
    /// Those that failed, were refused, or whose client left.
    Errors,
    /// These, and those that took longer than `slow`.
    Slow,
}

impl From<Only> for zerver_telemetry::logs::Only {
    fn from(only: Only) -> Self {
        match only {
            Only::All => Self::All,
            Only::Errors => Self::Errors,
            Only::Slow => Self::Slow,
        }
    }
}

/// What is wrong with a place to write to, if anything.
#[must_use]
pub fn wrong_target(text: &str) -> Option<&'static str> {
    match Target::parse(text) {
        Target::File(_) if text.trim().is_empty() => {
            Some("a log goes to `stdout`, `stderr` or a file; this names nothing")
        }
        Target::File(path) if path.is_dir() => Some("a log goes to a file; this is a folder"),
        _ => None,
    }
}
