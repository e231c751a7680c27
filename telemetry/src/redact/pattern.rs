//! The names that rules list: whole names or patterns with `*`, compared without case and with `_` as `-`.

/// A list of names and patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patterns(Vec<String>);

impl Patterns {
    /// # Errors
    /// The place of the first rule that can match no name, with the reason.
    pub(super) fn new(rules: &[String]) -> Result<Self, (usize, &'static str)> {
        let mut list = Vec::with_capacity(rules.len());
        for (n, rule) in rules.iter().enumerate() {
            if rule.is_empty() {
                return Err((n, "is empty"));
            }
            if rule.chars().any(|c| c.is_whitespace() || c.is_control() || "=&?/{}".contains(c)) {
                return Err((n, "is no name"));
            }
            list.push(fold(rule));
        }
        Ok(Self(list))
    }

    /// Whether one of them is this name.
    pub(super) fn matches(&self, name: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let name = fold(name);
        self.0.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
    }
}

fn fold(name: &str) -> String {
    name.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Each `*` stands for any number of bytes. Linear in the name for each star: the last one is tried again, never all.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_whole_without_case() {
        for (pattern, name, expected) in [
            ("x-internal-*", "X-Internal-User", true),
            ("x-internal-*", "x-internal", false),
            ("*_id", "national-id", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("*", "", true),
            ("mail", "email", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(Patterns::new(&[pattern.into()]).unwrap().matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_can_match_no_name_is_refused_with_its_place() {
        let list = ["ok".to_owned(), "a b".to_owned()];
        assert_eq!(Patterns::new(&list), Err((1, "is no name")));
        assert_eq!(Patterns::new(&[String::new()]), Err((0, "is empty")));
    }
}
