//! Reading the filter language: words to terms, and errors that know their place.

use std::ops::Range;

use zerver_telemetry::event::{Cause, StateKind};

use super::term::{Field, Pattern, Term, Test, Which};

/// More nesting than this is refused, so that no text can exhaust the stack.
const DEPTH_MAX: usize = 32;

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct FilterError {
    /// The bytes of the text it is about.
    pub(crate) at: Range<usize>,
    /// One sentence for a person.
    pub(crate) message: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Not,
    /// The text, and where its quoted part begins, if it has one: no operator is looked for from there on.
    Text(String, Option<usize>),
}

pub(super) fn parse(text: &str) -> Result<Term, FilterError> {
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens: &tokens, place: 0, end: text.len() };
    let term = reader.any(0)?;
    match reader.peek() {
        None => Ok(term),
        Some((_, at)) => Err(error(at.clone(), "this `)` has no `(`")),
    }
}

fn error(at: Range<usize>, message: impl Into<String>) -> FilterError {
    FilterError { at, message: message.into() }
}

fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, FilterError> {
    let mut tokens = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some(&(start, c)) = chars.peek() {
        match c {
            c if c.is_whitespace() => {
                chars.next();
            }
            '(' | ')' => {
                chars.next();
                tokens.push((if c == '(' { Token::Open } else { Token::Close }, start..start + 1));
            }
            '-' if text[start + 1..].starts_with(|next: char| !next.is_whitespace() && next != ')') => {
                chars.next();
                tokens.push((Token::Not, start..start + 1));
            }
            _ => {
                let (mut word, mut quoted, mut quoted_from, mut end) = (String::new(), None, None, start);
                while let Some(&(at, c)) = chars.peek() {
                    if quoted.is_none() && (c.is_whitespace() || c == '(' || c == ')') {
                        break;
                    }
                    chars.next();
                    end = at + c.len_utf8();
                    if c == '"' {
                        quoted = if quoted.is_some() { None } else { Some(at) };
                        quoted_from = quoted_from.or(Some(word.len()));
                    } else {
                        word.push(c);
                    }
                }
                if let Some(at) = quoted {
                    return Err(error(at..end, "this quote is not closed"));
                }
                tokens.push((Token::Text(word, quoted_from), start..end));
            }
        }
    }
    Ok(tokens)
}

struct Reader<'a> {
    tokens: &'a [(Token, Range<usize>)],
    place: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a (Token, Range<usize>)> {
        self.tokens.get(self.place)
    }

    fn word(&self, word: &str) -> bool {
        matches!(self.peek(), Some((Token::Text(text, None), _)) if text.eq_ignore_ascii_case(word))
    }

    fn any(&mut self, depth: usize) -> Result<Term, FilterError> {
        let mut terms = vec![self.all(depth)?];
        while self.word("or") {
            let at = self.peek().map_or(0..0, |t| t.1.clone());
            self.place += 1;
            if terms.last() == Some(&Term::All(Vec::new())) || matches!(self.peek(), None | Some((Token::Close, _))) {
                return Err(error(at, "`or` needs a term on both sides"));
            }
            terms.push(self.all(depth)?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Term::Any(terms) })
    }

    fn all(&mut self, depth: usize) -> Result<Term, FilterError> {
        let mut terms = Vec::new();
        while !matches!(self.peek(), None | Some((Token::Close, _))) && !self.word("or") {
            if self.word("and") && !terms.is_empty() {
                let at = self.peek().map_or(0..0, |t| t.1.clone());
                self.place += 1;
                if matches!(self.peek(), None | Some((Token::Close, _))) {
                    return Err(error(at, "`and` needs a term on both sides"));
                }
            }
            terms.push(self.one(depth)?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Term::All(terms) })
    }

    fn one(&mut self, depth: usize) -> Result<Term, FilterError> {
        let Some((token, at)) = self.peek() else {
            return Err(error(self.end..self.end, "a term is missing here"));
        };
        if depth == DEPTH_MAX {
            return Err(error(at.clone(), format!("more than {DEPTH_MAX} levels")));
        }
        self.place += 1;
        match token {
            Token::Not => Ok(Term::Not(Box::new(self.one(depth + 1)?))),
            Token::Text(text, None) if text.eq_ignore_ascii_case("not") => {
                Ok(Term::Not(Box::new(self.one(depth + 1)?)))
            }
            Token::Open => {
                let term = self.any(depth + 1)?;
                match self.peek() {
                    Some((Token::Close, _)) => {
                        self.place += 1;
                        Ok(term)
                    }
                    _ => Err(error(at.clone(), "this `(` is not closed")),
                }
            }
            Token::Close => Err(error(at.clone(), "this `)` has no `(`")),
            Token::Text(text, quoted) => term(text, *quoted, at),
        }
    }
}

const OPS: [&str; 8] = ["!=", ">=", "<=", ":", "=", ">", "<", "~"];

fn term(text: &str, quoted: Option<usize>, at: &Range<usize>) -> Result<Term, FilterError> {
    let head = &text[..quoted.unwrap_or(text.len())];
    let Some(split) = head.find([':', '=', '!', '>', '<', '~']) else {
        if let (Some(pattern), None) = (head.strip_prefix("path@"), quoted) {
            return Ok(Term::OnPath(Pattern::new(pattern)));
        }
        return Ok(Term::Word(text.to_lowercase()));
    };
    let Some(op) = OPS.into_iter().find(|op| head[split..].starts_with(op)) else {
        return Ok(Term::Word(text.to_lowercase()));
    };
    let (key, value) = (&text[..split], &text[split + op.len()..]);
    let spot = |part: &str| {
        // Quotes shift places; then the whole term is pointed at.
        let from = at.start + text.len().saturating_sub(part.len());
        if quoted.is_none() && !part.is_empty() { from..at.end } else { at.clone() }
    };
    if key.is_empty() {
        return Err(error(at.clone(), format!("a key is missing before `{op}`")));
    }
    if value.is_empty() {
        return Err(error(at.clone(), format!("a value is missing after `{op}`")));
    }
    if let Some((state, pattern)) = key.split_once('@') {
        if state == "path" {
            return Err(error(at.clone(), "`path@place` takes no value; `io@place>10ms` does"));
        }
        let Some(which) = which(state) else {
            return Err(error(
                at.start..at.start + state.len(),
                format!("`{state}` is no state: queue park run, or worker permit io join rate timer lock read write"),
            ));
        };
        let test = number_test(op, value, Unit::Time).map_err(|m| error(spot(value), m))?;
        return Ok(Term::Spent(which, Pattern::new(pattern), test));
    }
    let field = match key.to_ascii_lowercase().as_str() {
        "route" => Field::Route,
        "flow" => Field::Flow,
        "status" | "st" => {
            return status_test(op, value).map(|t| Term::Field(Field::Status, t)).map_err(|m| error(spot(value), m));
        }
        "lat" | "latency" => {
            let test = number_test(op, value, Unit::Time).map_err(|m| error(spot(value), m))?;
            return Ok(Term::Field(Field::Latency, test));
        }
        "outcome" => Field::Outcome,
        "error" => Field::Error,
        "trace" | "id" => Field::Trace,
        "config" => {
            let test = number_test(op, value, Unit::Plain).map_err(|m| error(spot(value), m))?;
            return Ok(Term::Field(Field::Config, test));
        }
        "kept" => Field::Kept,
        "has" => return Ok(Term::Has(Pattern::new(value))),
        "slow" => {
            let place = ["p50", "p95", "p99"].iter().position(|p| p.eq_ignore_ascii_case(value));
            return place.map(Term::Slow).ok_or_else(|| error(spot(value), "slow: takes p50, p95 or p99"));
        }
        "since" => return duration(value).map(Term::Since).map_err(|m| error(spot(value), m)),
        _ => {
            let test = attr_test(op, value).map_err(|m| error(spot(value), m))?;
            return Ok(Term::Attr(key.to_owned(), test));
        }
    };
    text_test(op, value).map(|t| Term::Field(field, t)).map_err(|m| error(spot(value), m))
}

fn which(state: &str) -> Option<Which> {
    match state {
        "queue" => Some(Which::Kind(StateKind::Queue)),
        "park" => Some(Which::Kind(StateKind::Park)),
        "run" => Some(Which::Kind(StateKind::Run)),
        _ => Cause::ALL.into_iter().find(|cause| cause.as_str() == state).map(Which::Cause),
    }
}

fn patterns(value: &str) -> Vec<Pattern> {
    value.split('|').map(Pattern::new).collect()
}

fn text_test(op: &str, value: &str) -> Result<Test, String> {
    match op {
        ":" | "=" => Ok(Test::Is(patterns(value))),
        "!=" => Ok(Test::IsNot(patterns(value))),
        "~" => Ok(Test::Contains(value.to_lowercase())),
        op => Err(format!("`{op}` compares numbers; this is a text")),
    }
}

/// An attribute may be a number or a text; what follows says which is meant.
fn attr_test(op: &str, value: &str) -> Result<Test, String> {
    let compares = value.starts_with(['>', '<']);
    let range = value.split_once("..").is_some_and(|(a, b)| quantity(a).is_ok() && quantity(b).is_ok());
    match op {
        ":" | "=" | "!=" if !compares && !range => text_test(op, value),
        "~" => text_test(op, value),
        _ => number_test(op, value, Unit::Either),
    }
}

/// `504`, `4xx`, `200|204`, `>=500`, `400..499`.
fn status_test(op: &str, value: &str) -> Result<Test, String> {
    if matches!(op, ":" | "=" | "!=") && !value.starts_with(['>', '<']) && !value.contains("..") {
        for one in value.split('|') {
            let ok = (1..=3).contains(&one.len()) && one.bytes().all(|b| b.is_ascii_digit() || b == b'x' || b == b'*');
            if !ok {
                return Err(format!("`{one}` is no status: 504, 5xx, 200|204, >=500"));
            }
        }
        return text_test(op, &value.replace("xx", "*").replace('x', "*"));
    }
    number_test(op, value, Unit::Plain)
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    /// A duration; a bare number is milliseconds.
    Time,
    /// A number without a unit.
    Plain,
    /// A number, or a duration in milliseconds, as attributes hold it.
    Either,
}

fn number_test(op: &str, value: &str, unit: Unit) -> Result<Test, String> {
    let number = |text: &str| match unit {
        Unit::Time => duration(text),
        Unit::Plain => text.parse().map_err(|_| format!("`{text}` is no number")),
        Unit::Either => quantity(text),
    };
    if let ":" = op {
        for inner in ["!=", ">=", "<=", ">", "<", "="] {
            if let Some(rest) = value.strip_prefix(inner) {
                return number_test(inner, rest, unit);
            }
        }
    }
    if let Some((from, to)) = value.split_once("..") {
        let from = if from.is_empty() { f64::NEG_INFINITY } else { number(from)? };
        let to = if to.is_empty() { f64::INFINITY } else { number(to)? };
        if from > to {
            return Err(format!("the range `{value}` is upside down"));
        }
        return match op {
            ":" | "=" => Ok(Test::Range(from, to)),
            "!=" => Ok(Test::Outside(from, to)),
            op => Err(format!("`{op}` takes one number, not a range")),
        };
    }
    let n = number(value)?;
    match op {
        ":" | "=" => Ok(Test::Range(n, n)),
        "!=" => Ok(Test::Outside(n, n)),
        ">" => Ok(Test::Above(n)),
        "<" => Ok(Test::Below(n)),
        ">=" => Ok(Test::Range(n, f64::INFINITY)),
        "<=" => Ok(Test::Range(f64::NEG_INFINITY, n)),
        op => Err(format!("`{op}` looks into texts; this is a number")),
    }
}

/// A duration in nanoseconds: `10ms`, `1.5s`, `200us`, `5m`; a bare number is milliseconds.
fn duration(text: &str) -> Result<f64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "" | "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        _ => return Err(format!("`{text}` is no duration: 10ms, 1.5s, 200us, 5m")),
    };
    number.parse::<f64>().map(|n| n * scale).map_err(|_| format!("`{text}` is no duration: 10ms, 1.5s, 200us, 5m"))
}

fn quantity(text: &str) -> Result<f64, String> {
    text.parse().ok().or_else(|| duration(text).ok().map(|ns| ns / 1e6)).ok_or_else(|| format!("`{text}` is no number"))
}
