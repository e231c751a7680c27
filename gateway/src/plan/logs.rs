//! Checks of what is logged and what is not shown.

use zerver_telemetry::redact::Redaction;

use crate::config::document::Document;
use crate::config::logs::wrong_target;
use crate::config::placed::Placed;
use crate::config::problem::Problem;
use crate::logs::levels::Levels;

/// Checks the logs' settings; gives the rules of redaction, those without configuration where the page's are wrong.
pub(super) fn check_logs(document: &Document, problems: &mut Vec<Problem>) -> Redaction {
    let level = &document.log.level;
    if let Err(bad) = Levels::parse(level) {
        problems.push(Problem::at(level.place(), format!("`log.level`: {}", bad.wrong)).help(bad.help));
    }
    let mut target = |name: &str, to: &Placed<String>| {
        if let Some(wrong) = wrong_target(to) {
            problems.push(
                Problem::at(to.place(), format!("`{name}` is `{}`", **to))
                    .help(format!("{wrong}: write `{name}: stdout`")),
            );
        }
    };
    target("log.to", &document.log.to);
    if let Some(access) = &document.access_log {
        target("access_log.to", &access.to);
    }
    document.redact.compile().unwrap_or_else(|problem| {
        problems.push(*problem);
        Redaction::default()
    })
}
