//! What a person may set: colours, glyphs, mouse, memory, the first filter, and the flag that ends the viewer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::theme::Theme;

/// Settings of the viewer.
#[derive(Clone, Debug)]
pub struct Options {
    /// The colours.
    pub theme: Theme,
    /// Draw with ASCII only: `q p #` for queue, park and run.
    pub ascii: bool,
    /// Take the mouse: click selects, the wheel scrolls. `M` switches it.
    pub mouse: bool,
    /// Requests kept; the oldest leave first. A request of a dozen nodes takes about 4 kB.
    pub capacity: usize,
    /// The filter to begin with, as `/` takes it.
    pub filter: Option<String>,
    /// The viewer leaves and restores the terminal within a fifth of a second after this is set; for the caller's
    /// handlers of SIGTERM and SIGHUP.
    pub stop: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Self {
        Self { theme: Theme::Auto, ascii: false, mouse: true, capacity: 20_000, filter: None, stop: Arc::default() }
    }
}

impl Options {
    /// The defaults as the environment changes them: `NO_COLOR` (set and not empty) and `TERM=dumb` ask for
    /// [`Theme::Mono`], a locale that is not UTF-8 for ASCII.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| get(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let ascii = locale.is_some_and(|l| !l.to_lowercase().replace('-', "").contains("utf8"));
        let theme = if dumb || set("NO_COLOR").is_some() { Theme::Mono } else { Theme::Auto };
        Self { theme, ascii: ascii || dumb, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> (Theme, bool) {
        let options = Options::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        });
        (options.theme, options.ascii)
    }

    #[test]
    fn the_environment_is_heard() {
        assert_eq!(with(&[]), (Theme::Auto, false));
        assert_eq!(with(&[("NO_COLOR", "")]), (Theme::Auto, false));
        assert_eq!(with(&[("NO_COLOR", "1"), ("LANG", "de_DE.UTF-8")]), (Theme::Mono, false));
        assert_eq!(with(&[("TERM", "dumb")]), (Theme::Mono, true));
        assert_eq!(with(&[("LC_ALL", "POSIX"), ("LANG", "en_US.UTF-8")]), (Theme::Auto, true));
    }
}
