//! The environment variables that override the page, each with its type, default and meaning; secrets are masked.

use std::time::Duration;

use super::document::Document;
use super::logs::Format;
use super::placed::Placed;
use super::problem::{Problem, suggestion};
use super::secret::Secret;
use crate::logs::levels::Levels;

/// One variable that is understood.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it takes, in words.
    pub takes: &'static str,
    /// Its default, in words.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Whether its value is shown as `***`.
    pub secret: bool,
    set: fn(&mut Document, &str) -> Result<(), String>,
}

const fn variable(
    name: &'static str,
    takes: &'static str,
    default: &'static str,
    about: &'static str,
    set: fn(&mut Document, &str) -> Result<(), String>,
) -> Variable {
    Variable { name, takes, default, about, secret: false, set }
}

/// Every variable, in the order of its application: where two say something about one setting, the later wins, so the
/// standard `OTEL_*` names stand last.
pub const VARIABLES: &[Variable] = &[
    variable("ZER_LISTEN", "an address", "the page's `listen`", "the address that clients connect to", |page, text| {
        page.listen = Placed::nowhere(text.to_owned());
        Ok(())
    }),
    variable("ZER_ADMIN_LISTEN", "an address", "127.0.0.1:9901", "the address of the admin listener", |page, text| {
        page.admin.listen = Placed::nowhere(text.to_owned());
        Ok(())
    }),
    Variable {
        name: "ZER_ADMIN_TOKEN",
        takes: "a text",
        default: "none",
        about: "the token that admin requests must carry",
        secret: true,
        set: |page, text| {
            page.admin.token = Some(Placed::nowhere(Secret::new(text)));
            Ok(())
        },
    },
    variable("ZER_WORKERS", "a number", "0: one per processor", "threads that serve requests", |page, text| {
        page.workers = text.parse().map_err(|_| "is no whole number".to_owned())?;
        Ok(())
    }),
    variable(
        "ZER_VER_PROMOTE_QUEUE_MS",
        "milliseconds",
        "5",
        "queue episodes longer than this become spans",
        |page, text| {
            page.telemetry.promote_queue = millis(text)?;
            Ok(())
        },
    ),
    variable(
        "ZER_VER_PROMOTE_PARK_MS",
        "milliseconds",
        "5",
        "park episodes longer than this become spans",
        |page, text| {
            page.telemetry.promote_park = millis(text)?;
            Ok(())
        },
    ),
    variable("ZER_VER_DEBUG_JOBS", "0 or 1", "0", "every queue and park episode becomes a span", |page, text| {
        page.telemetry.debug_jobs = yes_or_no(text)?;
        Ok(())
    }),
    variable(
        "RUST_LOG",
        "levels",
        "info",
        "how much the program logs, such as `info,zerver::admission=debug`",
        log_level,
    ),
    variable("ZER_LOG", "levels", "info", "the same; it wins over `RUST_LOG`", log_level),
    variable("ZER_LOG_FORMAT", "text or json", "text", "the form of the application log", |page, text| {
        page.log.format = match text {
            "text" => Format::Text,
            "json" => Format::Json,
            _ => return Err("is neither `text` nor `json`".to_owned()),
        };
        Ok(())
    }),
    variable("ZER_VER_OTEL_ENABLED", "0 or 1", "0", "whether spans are sent", |page, text| {
        page.telemetry.otlp.enabled = yes_or_no(text)?;
        Ok(())
    }),
    variable(
        "ZER_VER_OTEL_ENDPOINT",
        "a URL",
        "http://127.0.0.1:4318",
        "the collector's OTLP/HTTP address; setting it switches sending on",
        endpoint,
    ),
    variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "a URL",
        "http://127.0.0.1:4318",
        "the collector's OTLP/HTTP address; setting it switches sending on",
        endpoint,
    ),
    variable("OTEL_SERVICE_NAME", "a text", "zerver", "the spans' `service.name`", |page, text| {
        page.telemetry.otlp.service = text.to_owned();
        Ok(())
    }),
    variable("OTEL_SDK_DISABLED", "true or false", "false", "no spans are sent, whatever else is set", |page, text| {
        if yes_or_no(text)? {
            page.telemetry.otlp.enabled = false;
        }
        Ok(())
    }),
    variable(
        "OTEL_TRACES_SAMPLER_ARG",
        "a share, 0 to 1",
        "0.05",
        "the share of ordinary requests whose spans are sent",
        |page, text| {
            let share: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
            if !(0.0..=1.0).contains(&share) {
                return Err("does not lie between 0 and 1".to_owned());
            }
            page.telemetry.otlp.sample = share;
            Ok(())
        },
    ),
];

fn log_level(page: &mut Document, text: &str) -> Result<(), String> {
    page.log.level = Placed::nowhere(text.to_owned());
    Levels::parse(text).map(|_| ()).map_err(|bad| format!("says no levels: {bad}"))
}

fn endpoint(page: &mut Document, text: &str) -> Result<(), String> {
    if !text.starts_with("http://") {
        return Err("is no URL; write `http://host:4318`".to_owned());
    }
    page.telemetry.otlp.endpoint = Placed::nowhere(text.to_owned());
    page.telemetry.otlp.enabled = true;
    Ok(())
}

fn millis(text: &str) -> Result<Duration, String> {
    let ms: f64 = text.parse().map_err(|_| "is no number of milliseconds".to_owned())?;
    Duration::try_from_secs_f64(ms / 1000.0).map_err(|_| "is no number of milliseconds".to_owned())
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" | "" => Ok(false),
        _ => Err("is neither 0 nor 1".to_owned()),
    }
}

/// Applies the variables that `lookup` knows.
///
/// # Errors
/// One problem per variable whose value is unfit.
pub fn apply(page: &mut Document, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for variable in VARIABLES {
        let Some(value) = lookup(variable.name) else { continue };
        if let Err(why) = (variable.set)(page, value.trim()) {
            let shown = if variable.secret { "***" } else { &value };
            problems.push(
                Problem::whole(format!("the environment variable {}=`{shown}` {why}", variable.name))
                    .help(format!("it takes {} (default: {}): {}", variable.takes, variable.default, variable.about)),
            );
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// A warning for each `ZER_` variable that nobody understands, most often a misspelt one.
#[must_use]
pub fn unknown(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let known = || VARIABLES.iter().map(|variable| variable.name);
    names
        .into_iter()
        .filter(|name| name.starts_with("ZER_") && !known().any(|known| known == name))
        .map(|name| format!("the environment variable {name} means nothing to zerver; {}", suggestion(&name, known())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::parse;

    fn applied(pairs: &[(&str, &str)]) -> Result<Document, Vec<Problem>> {
        let mut page = parse("listen: 127.0.0.1:0\nroutes: []\n").unwrap();
        let lookup = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        apply(&mut page, &lookup).map(|()| page)
    }

    #[test]
    fn variables_override_the_page_and_the_standard_names_win() {
        let page = applied(&[
            ("ZER_VER_PROMOTE_QUEUE_MS", "2.5"),
            ("ZER_VER_PROMOTE_PARK_MS", "7"),
            ("ZER_VER_DEBUG_JOBS", "1"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:4318"),
            ("ZER_VER_OTEL_ENDPOINT", "http://a:4318"),
        ])
        .unwrap();
        assert_eq!(page.telemetry.promote_queue, Duration::from_micros(2500));
        assert_eq!(page.telemetry.promote_park, Duration::from_millis(7));
        assert!(page.telemetry.debug_jobs && page.telemetry.otlp.enabled);
        assert_eq!(*page.telemetry.otlp.endpoint, "http://b:4318");
    }

    #[test]
    fn unfit_values_are_named_and_secrets_are_not_shown() {
        let problems = applied(&[("ZER_VER_PROMOTE_QUEUE_MS", "soon"), ("ZER_WORKERS", "-1")]).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(problems[1].message.contains("ZER_VER_PROMOTE_QUEUE_MS=`soon` is no number of milliseconds"));
        let page = applied(&[("ZER_ADMIN_TOKEN", "hunter2")]).unwrap();
        assert!(!format!("{page:?}").contains("hunter2"));
    }

    #[test]
    fn a_misspelt_variable_is_noticed() {
        let warnings = unknown(["ZER_VER_PROMOTE_QUEU_MS".to_owned(), "PATH".to_owned()]);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("did you mean `ZER_VER_PROMOTE_QUEUE_MS`?"), "{warnings:?}");
    }
}
