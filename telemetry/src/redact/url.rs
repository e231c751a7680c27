//! Paths, queries and whole addresses with their secrets replaced, in the form that OpenTelemetry prescribes.
//!
//! A value is replaced by `REDACTED`, its key stays (semantic conventions, registry of `url.*`).

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::percent::decode_form;

/// What is asked of a value: by its name, and by its text.
pub(super) struct Asked<N, V> {
    /// Whether what goes by this name is hidden.
    pub(super) name: N,
    /// Whether this text, decoded, is hidden whatever its name.
    pub(super) value: V,
}

/// A query without its question mark. `hidden` is told every value that was replaced.
pub(super) fn query<'q>(
    query: &'q str,
    mask: &str,
    asked: &Asked<impl Fn(&str) -> bool, impl Fn(&str) -> bool>,
    hidden: &mut dyn FnMut(&str),
) -> Cow<'q, str> {
    let is_hidden = |pair: &str| match pair.split_once('=') {
        Some((_, "")) => false,
        Some((name, value)) => (asked.name)(&decode_form(name)) || (asked.value)(&decode_form(value)),
        None => (asked.value)(&decode_form(pair)),
    };
    if !query.split('&').any(is_hidden) {
        return Cow::Borrowed(query);
    }
    let mut out = String::with_capacity(query.len());
    for (n, pair) in query.split('&').enumerate() {
        if n > 0 {
            out.push('&');
        }
        match pair.split_once('=') {
            _ if !is_hidden(pair) => out.push_str(pair),
            Some((name, value)) => {
                hidden(value);
                let _ = write!(out, "{name}={mask}");
            }
            None => {
                hidden(pair);
                out.push_str(mask);
            }
        }
    }
    Cow::Owned(out)
}

/// A path. Segments are hidden that stand where `template` has a parameter of a hidden name, where a rule says so, or
/// that look like a secret; so are matrix parameters (`;jsessionid=…`).
pub(super) fn path<'p>(
    path: &'p str,
    template: Option<&str>,
    rules: &[Vec<String>],
    mask: &str,
    asked: &Asked<impl Fn(&str) -> bool, impl Fn(&str) -> bool>,
    hidden: &mut dyn FnMut(&str),
) -> Cow<'p, str> {
    let segments: Vec<&str> = path.split('/').collect();
    let mut hide = vec![false; segments.len()];
    // A prefix of the path may stand before what a template describes nowhere: both begin with the first slash.
    if let Some(template) = template {
        let template: Vec<&str> = template.split('/').collect();
        along(&segments, &template, &mut hide, |name| (asked.name)(name));
    }
    for rule in rules {
        let rule: Vec<&str> = rule.iter().map(String::as_str).collect();
        let mut here = vec![false; segments.len()];
        if along(&segments, &rule, &mut here, |_| true) {
            hide.iter_mut().zip(here).for_each(|(hide, here)| *hide |= here);
        }
    }
    for (segment, hide) in segments.iter().zip(&mut hide) {
        *hide |= !segment.is_empty() && (asked.value)(&decode_form(segment));
    }
    let matrix = |segment: &&str| segment.contains(';') && segment.contains('=');
    if !hide.contains(&true) && !segments.iter().any(matrix) {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    for (n, (segment, hide)) in segments.iter().zip(hide).enumerate() {
        if n > 0 {
            out.push('/');
        }
        if hide && !segment.is_empty() {
            hidden(segment);
            out.push_str(mask);
            continue;
        }
        for (n, piece) in segment.split(';').enumerate() {
            if n > 0 {
                out.push(';');
            }
            match piece
                .split_once('=')
                .filter(|(name, value)| n > 0 && !value.is_empty() && (asked.name)(&decode_form(name)))
            {
                Some((name, value)) => {
                    hidden(value);
                    let _ = write!(out, "{name}={mask}");
                }
                None => out.push_str(piece),
            }
        }
    }
    Cow::Owned(out)
}

/// Marks the segments that stand where the template has a parameter for which `wanted`; whether the path fits it.
/// A path that was cut may end before its template does.
fn along(segments: &[&str], template: &[&str], hide: &mut [bool], wanted: impl Fn(&str) -> bool) -> bool {
    for (n, part) in template.iter().enumerate() {
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        match name.map(|name| (name.strip_prefix('*'), name)) {
            Some((Some(rest), _)) => {
                if wanted(rest) && n < hide.len() {
                    hide[n..].fill(true);
                }
                return true;
            }
            Some((None, name)) => {
                if let Some(hide) = hide.get_mut(n) {
                    *hide |= wanted(name);
                }
            }
            None if segments.get(n).is_some_and(|segment| segment != part) => return false,
            None => {}
        }
    }
    segments.len() <= template.len()
}

/// The parts of an absolute or relative address: what stands before the path (scheme and authority, its user hidden), path,
/// query, fragment.
pub(super) fn parts<'u>(
    url: &'u str,
    mask: &str,
    hidden: &mut dyn FnMut(&str),
) -> (Cow<'u, str>, &'u str, Option<&'u str>) {
    let (head, rest) = match url.find("://") {
        Some(at) => {
            let authority = at + 3;
            let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |n| authority + n);
            let head = &url[..end];
            let head = match head[authority..].rfind('@') {
                Some(user) => {
                    head[authority..][..user].split(':').for_each(&mut *hidden);
                    Cow::Owned(format!("{}{mask}:{mask}{}", &head[..authority], &head[authority + user..]))
                }
                None => Cow::Borrowed(head),
            };
            (head, &url[end..])
        }
        None => (Cow::Borrowed(""), url),
    };
    // A fragment never comes over the wire by right; it may hold a token all the same, so it is left out.
    let rest = rest.split('#').next().unwrap_or("");
    match rest.split_once('?') {
        Some((path, query)) => (head, path, Some(query)),
        None => (head, rest, None),
    }
}
