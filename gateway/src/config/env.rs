//! The environment variables that override the page, each with its type, default and meaning; secrets are masked.

use super::document::Document;
use super::logs::Format;
use super::otlp::vars;
use super::placed::Placed;
use super::problem::{Problem, suggestion};
use super::secret::Secret;
use super::variable::{Variable, millis, variable, yes_or_no};
use crate::logs::levels::Levels;

/// Our own variables, in the order of their application.
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
    variable("ZER_VER_OTEL_ENABLED", "0 or 1", "0", "whether spans, metrics and logs are sent", |page, text| {
        if yes_or_no(text)? {
            page.telemetry.otlp.enabled = true;
        } else {
            page.telemetry.otlp.switch_off();
        }
        Ok(())
    }),
    variable(
        "ZER_VER_OTEL_ENDPOINT",
        "a URL",
        "http://127.0.0.1:4318, for gRPC http://127.0.0.1:4317",
        "the collector's address; setting it switches sending on",
        |page, text| {
            page.telemetry.otlp.endpoint = Some(Placed::nowhere(text.to_owned()));
            page.telemetry.otlp.enabled = true;
            Ok(())
        },
    ),
];

fn log_level(page: &mut Document, text: &str) -> Result<(), String> {
    page.log.level = Placed::nowhere(text.to_owned());
    Levels::parse(text).map(|_| ()).map_err(|bad| format!("says no levels: {bad}"))
}

/// Every variable, in the order of its application: where two say something about one setting, the later wins, so the
/// standard `OTEL_*` names stand last.
pub fn variables() -> impl Iterator<Item = &'static Variable> + Clone {
    [VARIABLES, vars::GENERAL, vars::TRACES, vars::METRICS, vars::LOGS, vars::SWITCHES].into_iter().flatten()
}

/// Applies the variables that `lookup` knows.
///
/// # Errors
/// One problem per variable whose value is unfit.
pub fn apply(page: &mut Document, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for variable in variables() {
        let Some(value) = lookup(variable.name) else { continue };
        // The specifications say that an empty value is no value.
        if value.trim().is_empty() && variable.name.starts_with("OTEL_") {
            continue;
        }
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

/// What the `OTEL_*` names begin with that mean something to exporters; others are for programs in other languages.
const STANDARD: [&str; 8] = [
    "OTEL_EXPORTER_",
    "OTEL_BSP_",
    "OTEL_BLRP_",
    "OTEL_TRACES_",
    "OTEL_METRIC",
    "OTEL_LOGS_",
    "OTEL_SPAN_",
    "OTEL_ATTRIBUTE_",
];

/// A warning for each variable that nobody understands, most often a misspelt one, and for each that is understood but
/// not obeyed.
#[must_use]
pub fn unknown(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let known = || variables().map(|variable| variable.name);
    let ours = |name: &str| name.starts_with("ZER_") || STANDARD.iter().any(|begin| name.starts_with(begin));
    let warning = |name: String| {
        if let Some((_, instead)) = vars::NOT_OBEYED.iter().find(|(known, _)| *known == name) {
            return Some(format!("the environment variable {name} is not obeyed: {instead}"));
        }
        let unknown = ours(&name) && !known().any(|known| known == name);
        let suggestion = || suggestion(&name, known());
        unknown.then(|| format!("the environment variable {name} means nothing to zerver; {}", suggestion()))
    };
    names.into_iter().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        assert_eq!(page.telemetry.otlp.endpoint.as_deref().map(String::as_str), Some("http://b:4318"));
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
        let names = ["ZER_VER_PROMOTE_QUEU_MS", "PATH", "OTEL_BSP_MAX_QUEUE", "OTEL_PYTHON_X", "OTEL_LOG_LEVEL"];
        let warnings = unknown(names.map(str::to_owned));
        let says = ["did you mean `ZER_VER_PROMOTE_QUEUE_MS`?", "OTEL_BSP_MAX_QUEUE means nothing", "`ZER_LOG` says"];
        assert_eq!(warnings.len(), says.len(), "{warnings:?}");
        assert!(warnings.iter().zip(says).all(|(warning, says)| warning.contains(says)), "{warnings:?}");
    }
}
