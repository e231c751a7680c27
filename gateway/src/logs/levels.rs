//! How much the program says, module by module: read from a text such as `info,zerver::admission=debug`.

use tracing::metadata::LevelFilter;
use tracing_subscriber::filter::Targets;

use crate::config::problem::suggestion;

/// The words for levels.
const WORDS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// The most directives of one text; more is a mistake.
const DIRECTIVES_MAX: usize = 64;

/// A checked text of levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    text: String,
    default: LevelFilter,
    targets: Vec<(String, LevelFilter)>,
}

/// Why a text says no levels, and what would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wrong}; {help}")]
pub struct BadLevels {
    /// What is wrong, without a full stop.
    pub wrong: String,
    /// What would be right.
    pub help: String,
}

impl Levels {
    /// Reads levels: one for all that is not named, and `target=level` for modules and what is below them, separated by
    /// commas. Without one for all that is `info`.
    ///
    /// # Errors
    /// The first part that says nothing.
    pub fn parse(text: &str) -> Result<Self, BadLevels> {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() || parts.len() > DIRECTIVES_MAX {
            let wrong = if parts.is_empty() { "no level is named" } else { "these are too many levels" };
            return Err(BadLevels {
                wrong: wrong.into(),
                help: "write a level such as `info`, or `info,zerver::admission=debug`".into(),
            });
        }
        let mut levels = Self { text: parts.join(","), default: LevelFilter::INFO, targets: Vec::new() };
        for part in parts {
            match part.split_once('=') {
                None => levels.default = level(part).ok_or_else(|| no_level(part))?,
                Some((target, word)) => {
                    let (target, word) = (target.trim(), word.trim());
                    let name = |c: char| c.is_ascii_alphanumeric() || "_:-.".contains(c);
                    if target.is_empty() || !target.chars().all(name) {
                        return Err(BadLevels {
                            wrong: format!("`{target}` is no module's name"),
                            help: "write `target=level`, such as `zerver::admission=debug`".into(),
                        });
                    }
                    levels.targets.push((target.to_owned(), level(word).ok_or_else(|| no_level(word))?));
                }
            }
        }
        Ok(levels)
    }

    /// The text they were read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The filter. pingora says little that timelines do not, so it is quiet unless it is named: what it says of single requests
    /// is left out, of the rest the errors stay.
    pub(super) fn filter(&self) -> Targets {
        let quiet = [("pingora_core", LevelFilter::ERROR.min(self.default)), ("pingora_proxy", LevelFilter::OFF)];
        let unnamed = |name: &str| self.targets.iter().all(|(target, _)| !name.starts_with(target.as_str()));
        let quiet = quiet.into_iter().filter(|(name, _)| unnamed(name));
        let named = self.targets.iter().map(|(target, level)| (target.as_str(), *level));
        Targets::new().with_default(self.default).with_targets(quiet.chain(named))
    }
}

fn level(word: &str) -> Option<LevelFilter> {
    WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, level)| *level)
}

fn no_level(word: &str) -> BadLevels {
    let help = if word.contains("::") {
        format!("write `{word}=debug` for a module's own level")
    } else {
        suggestion(word, WORDS.iter().map(|(word, _)| *word))
    };
    BadLevels { wrong: format!("`{word}` is no level"), help }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn modules_have_levels_of_their_own() {
        for (text, target, level, expected) in [
            ("info", "zerver::reload", Level::INFO, true),
            ("info", "zerver::reload", Level::DEBUG, false),
            ("warn,zerver::admission=debug", "zerver::admission::gate", Level::DEBUG, true),
            ("warn, zerver::admission = DEBUG ,", "zerver::reload", Level::INFO, false),
            ("zerver::admission=debug", "zerver::reload", Level::INFO, true),
            ("debug", "pingora_core::services", Level::WARN, false),
            ("debug", "pingora_core::services", Level::ERROR, true),
            ("debug", "pingora_proxy", Level::ERROR, false),
            ("info,pingora_proxy=debug", "pingora_proxy", Level::DEBUG, true),
            ("info,pingora=warn", "pingora_core", Level::WARN, true),
            ("off", "pingora_core", Level::ERROR, false),
        ] {
            let levels = Levels::parse(text).unwrap();
            assert_eq!(levels.filter().would_enable(target, &level), expected, "{text} {target} {level}");
        }
        assert_eq!(Levels::parse(" info , zerver=debug").unwrap().text(), "info,zerver=debug");
    }

    #[test]
    fn what_says_no_level_is_named_with_a_remedy() {
        for (text, expected) in [
            ("deubg", "`deubg` is no level; did you mean `debug`?"),
            ("info,zerver=loud", "`loud` is no level; known here: debug, error, info, off, trace, warn"),
            (
                "zerver::admission",
                "`zerver::admission` is no level; write `zerver::admission=debug` for a module's own level",
            ),
            ("[span]=info", "`[span]` is no module's name; write `target=level`, such as `zerver::admission=debug`"),
            (" ,", "no level is named; write a level such as `info`, or `info,zerver::admission=debug`"),
        ] {
            assert_eq!(Levels::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert!(Levels::parse(&"info,".repeat(100)).is_err());
    }
}
