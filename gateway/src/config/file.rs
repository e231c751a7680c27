//! From a file's text to the page: unknown keys, wrong types and broken YAML become problems with a place and a remedy.

use std::path::Path;

use super::document::Document;
use super::problem::{Place, Problem, suggestion};

/// A file that could not be used: its name, its text, and everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The file's name as it was given.
    pub file: String,
    /// Its text; empty when it could not be read.
    pub source: String,
    /// What is wrong; at least one.
    pub problems: Vec<Problem>,
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            f.write_str(&problem.render(&self.file, &self.source))?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}

/// The largest page that is read: 4 MiB.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Reads a file's text.
///
/// # Errors
/// [`Rejected`] when it is not there, too large, or no UTF-8.
pub fn read(path: &Path) -> Result<String, Rejected> {
    let file = path.display().to_string();
    let reject = |problem: Problem| Rejected { file: file.clone(), source: String::new(), problems: vec![problem] };
    let size = std::fs::metadata(path).map_err(|error| {
        reject(Problem::whole(format!("cannot read {file}: {error}")).help("give the path of a configuration file"))
    })?;
    if size.len() > LARGEST {
        return Err(reject(Problem::whole(format!("{file} has {} bytes; the most is {LARGEST}", size.len()))));
    }
    std::fs::read_to_string(path).map_err(|error| {
        reject(Problem::whole(format!("cannot read {file}: {error}")).help("a configuration file is UTF-8 text"))
    })
}

/// Reads a page.
///
/// # Errors
/// The first problem of form; YAML that is broken there says nothing reliable about the rest.
pub fn parse(source: &str) -> Result<Document, Box<Problem>> {
    let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if source.lines().all(is_blank) {
        let empty = Problem::whole("the file holds no configuration");
        return Err(Box::new(empty.help("begin with `listen: 127.0.0.1:8080` and a list of `routes:`")));
    }
    serde_saphyr::from_str(source).map_err(|error| Box::new(problem(&error)))
}

/// A parser's error as a problem of ours.
fn problem(error: &serde_saphyr::Error) -> Problem {
    let plain = error.without_snippet();
    let place = error.location().map(|at| Place { line: at.line(), column: at.column(), len: at.span().len() });
    let text = plain.to_string();
    // The place is drawn; the sentence need not repeat it.
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
    let problem = |message: String| Problem { place, message, help: None, other: None };
    if let Some((word, known)) = unknown(&message, "unknown field `") {
        return problem(format!("unknown key `{word}`")).help(suggestion(&word, known.iter().map(String::as_str)));
    }
    if let Some((word, known)) = unknown(&message, "unknown variant `") {
        return problem(format!("`{word}` is none of the choices here"))
            .help(suggestion(&word, known.iter().map(String::as_str)));
    }
    if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return problem(format!("the key `{name}` is missing here")).help(format!("add `{name}: …`"));
    }
    if let Some(key) = message.strip_prefix("duplicate mapping key: ") {
        let key = key.split(',').next().unwrap_or(key);
        return problem(format!("the key `{key}` stands here twice")).help("remove or rename one of them");
    }
    let help = match message.as_str() {
        m if m.starts_with("expected mapping start") => Some("`key: value` lines belong here, indented by two spaces"),
        m if m.starts_with("expected sequence start") => {
            Some("a list belongs here: `[a, b]`, or lines that begin with `- `")
        }
        m if m.starts_with("invalid u") || m.starts_with("invalid i") => {
            return problem("this is no whole number".into()).help("write digits only, such as 8");
        }
        m if m.starts_with("invalid f") => {
            return problem("this is no number".into()).help("write a number, such as 0.25");
        }
        m if m.starts_with("invalid bool") => {
            return problem("this is neither true nor false".into()).help("write `true` or `false`");
        }
        m if m.starts_with("unclosed ") || m.starts_with("unexpected end") => {
            Some("this is no YAML: look at brackets, quotes and indentation before this place")
        }
        _ => None,
    };
    let mut found = problem(message);
    found.help = help.map(str::to_owned);
    found
}

/// The word and the known words of serde's "unknown …, expected …".
fn unknown(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let (word, rest) = message.strip_prefix(prefix)?.split_once('`')?;
    let known = rest
        .trim_start_matches(", expected ")
        .trim_start_matches("one of ")
        .split([',', ' '])
        .map(|word| word.trim_matches('`').to_owned())
        .filter(|word| !word.is_empty() && word != "or")
        .collect();
    Some((word.to_owned(), known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        let problem = parse(source).map(|_| ()).unwrap_err();
        assert_eq!(problem.render("f.yaml", source).trim_end(), expected.trim_end(), "\n{source}");
    }

    #[test]
    fn errors_of_form_say_where_and_what_would_be_right() {
        check(
            "listen: 127.0.0.1:0\nrouts: []\n",
            "error: unknown key `routs`\n --> f.yaml:2:1\n  |\n2 | routs: []\n  | ^^^^^ \n  = help: did you mean `routes`?\n",
        );
        check(
            "listen: 127.0.0.1:0\nroutes:\n  - name: a\n    match: { path: / }\n    to: { upstrem: web }\n",
            "error: `upstrem` is none of the choices here\n --> f.yaml:5:11\n  |\n5 |     to: { upstrem: web }\n  |           ^^^^^^^ \n  = help: did you mean `upstream`?\n",
        );
        check(
            "listen: 127.0.0.1:0\nroutes: []\nworkers: many\n",
            "error: this is no whole number\n --> f.yaml:3:10\n  |\n3 | workers: many\n  |          ^^^^ \n  = help: write digits only, such as 8\n",
        );
        check(
            "listen: 127.0.0.1:0\nroutes: []\nlisten: x\n",
            "error: the key `listen` stands here twice\n --> f.yaml:3:1\n  |\n3 | listen: x\n  | ^^^^^^ \n  = help: remove or rename one of them\n",
        );
    }
}
