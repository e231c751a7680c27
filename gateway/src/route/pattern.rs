//! Path patterns: `/carts/{id}` takes one segment, `/files/{*rest}` the rest; checked when they are made.

use std::cmp::Ordering;

/// A checked path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    params: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Fixed(String),
    Param,
    Rest,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with a slash.
    #[error("a path pattern begins with `/`")]
    NoSlash,
    /// A brace is not closed, or stands inside a segment.
    #[error("`{0}` is not a segment: a parameter is a whole segment, such as `{{id}}` or, at the end, `{{*rest}}`")]
    BadSegment(String),
    /// A rest stands before the end.
    #[error("`{0}` takes the rest of the path, so nothing may follow it")]
    RestNotLast(String),
    /// Two parameters have one name.
    #[error("the parameter `{0}` stands there twice")]
    TwiceNamed(String),
}

impl Pattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// [`PatternError`] says which segment is wrong.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let rest = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        let mut pattern = Self { segments: Vec::new(), params: Vec::new() };
        for piece in rest.split('/') {
            if pattern.segments.last() == Some(&Segment::Rest) {
                let name = pattern.params.last().cloned().unwrap_or_default();
                return Err(PatternError::RestNotLast(format!("{{*{name}}}")));
            }
            let bad = || PatternError::BadSegment(piece.to_owned());
            let (segment, name) = match piece.strip_prefix('{').map(|p| p.strip_suffix('}').ok_or_else(bad)) {
                None if piece.contains(['{', '}', '*']) => return Err(bad()),
                None => (Segment::Fixed(piece.to_owned()), None),
                Some(name) => match name?.strip_prefix('*') {
                    Some(name) => (Segment::Rest, Some(name)),
                    None => (Segment::Param, Some(piece[1..piece.len() - 1].as_ref())),
                },
            };
            if let Some(name) = name {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                if name.is_empty() || !name.chars().all(word) {
                    return Err(bad());
                }
                if pattern.params.iter().any(|p| p == name) {
                    return Err(PatternError::TwiceNamed(name.to_owned()));
                }
                pattern.params.push(name.to_owned());
            }
            pattern.segments.push(segment);
        }
        Ok(pattern)
    }

    /// The parameters' values when `path` matches: names of this pattern, pieces of the path (still percent-encoded).
    ///
    /// `{id}` takes one segment that is not empty; `{*rest}` takes everything from there on, also nothing.
    #[must_use]
    pub fn matches<'p>(&self, path: &'p str) -> Option<Vec<(&str, &'p str)>> {
        let mut params = Vec::with_capacity(self.params.len());
        let mut names = self.params.iter();
        let mut rest = Some(path.strip_prefix('/')?);
        for segment in &self.segments {
            let at = rest?;
            let (piece, after) = match at.split_once('/') {
                Some((piece, after)) => (piece, Some(after)),
                None => (at, None),
            };
            match segment {
                Segment::Fixed(text) if text == piece => rest = after,
                Segment::Fixed(_) => return None,
                Segment::Param if piece.is_empty() => return None,
                Segment::Param => {
                    params.push((names.next()?.as_str(), piece));
                    rest = after;
                }
                Segment::Rest => {
                    params.push((names.next()?.as_str(), at));
                    rest = None;
                }
            }
        }
        rest.is_none().then_some(params)
    }

    /// The same pattern with its parameters numbered: two patterns with one shape match the same paths.
    #[must_use]
    pub fn shape(&self) -> String {
        let mut shape = String::new();
        for segment in &self.segments {
            shape.push('/');
            match segment {
                Segment::Fixed(text) => shape.push_str(text),
                Segment::Param => shape.push_str("{}"),
                Segment::Rest => shape.push_str("{*}"),
            }
        }
        shape
    }

    /// Less when this pattern is the more exact one.
    #[must_use]
    pub fn precedence(&self, other: &Self) -> Ordering {
        let rank = |segment: Option<&Segment>| match segment {
            Some(Segment::Fixed(_)) => 0,
            Some(Segment::Param) => 1,
            None => 2,
            Some(Segment::Rest) => 3,
        };
        let longest = self.segments.len().max(other.segments.len());
        (0..longest)
            .map(|n| rank(self.segments.get(n)).cmp(&rank(other.segments.get(n))))
            .find(|order| *order != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    }
}

/// As it was written.
impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut params = self.params.iter();
        for segment in &self.segments {
            match segment {
                Segment::Fixed(text) => write!(f, "/{text}")?,
                Segment::Param => write!(f, "/{{{}}}", params.next().map_or("", String::as_str))?,
                Segment::Rest => write!(f, "/{{*{}}}", params.next().map_or("", String::as_str))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, path: &str, expected: Option<&[(&str, &str)]>) {
        let pattern = Pattern::parse(pattern).unwrap();
        assert_eq!(pattern.matches(path).as_deref(), expected, "{pattern:?} against {path}");
    }

    #[test]
    fn paths_match() {
        check("/", "/", Some(&[]));
        check("/", "/a", None);
        check("/carts", "/carts", Some(&[]));
        check("/carts", "/carts/", None);
        check("/carts/{id}", "/carts/7", Some(&[("id", "7")]));
        check("/carts/{id}", "/carts/", None);
        check("/carts/{id}/items", "/carts/7/items", Some(&[("id", "7")]));
        check("/carts/{id}/items", "/carts/7/items/3", None);
        check("/{*rest}", "/", Some(&[("rest", "")]));
        check("/files/{*rest}", "/files/a/b", Some(&[("rest", "a/b")]));
        check("/files/{*rest}", "/filesystem", None);
        check("/files/{*rest}", "/files", None);
    }

    #[test]
    fn bad_patterns_say_what_is_wrong() {
        for (text, error) in [
            ("carts", "a path pattern begins with `/`"),
            (
                "/a{id}",
                "`a{id}` is not a segment: a parameter is a whole segment, such as `{id}` or, at the end, `{*rest}`",
            ),
            (
                "/{id",
                "`{id` is not a segment: a parameter is a whole segment, such as `{id}` or, at the end, `{*rest}`",
            ),
            ("/{*rest}/x", "`{*rest}` takes the rest of the path, so nothing may follow it"),
            ("/{a}/{a}", "the parameter `a` stands there twice"),
        ] {
            assert_eq!(Pattern::parse(text).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn the_more_exact_pattern_comes_first() {
        let mut texts =
            ["/{*rest}", "/carts/{id}", "/", "/carts/mine", "/carts/{*rest}", "/carts", "/carts/{id}/items"];
        texts.sort_by(|a, b| Pattern::parse(a).unwrap().precedence(&Pattern::parse(b).unwrap()));
        assert_eq!(
            texts,
            ["/carts/mine", "/carts/{id}/items", "/carts/{id}", "/", "/carts", "/carts/{*rest}", "/{*rest}"]
        );
    }
}
