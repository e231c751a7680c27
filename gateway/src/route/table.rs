//! The table of routes: conditions in order of precedence, looked up by the path's first segment.

use std::cmp::Ordering;

use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::pattern::Pattern;

/// What a request must look like to take a route.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// The host; any when none.
    pub host: Option<Host>,
    /// The methods; any when empty.
    pub methods: Vec<Method>,
    /// The path.
    pub path: Pattern,
    /// Headers that must be there; with this value when one is given.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
    /// Query parameters that must be there; with this value when one is given.
    pub query: Vec<(String, Option<String>)>,
}

/// A condition on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// This name.
    Exact(String),
    /// Any name that ends with this (`.example.com`), with something before it.
    Below(String),
}

impl Host {
    /// Reads `example.com` or `*.example.com`; case does not matter.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some(suffix) => Self::Below(suffix.to_owned()),
            None => Self::Exact(text),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Below(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .is_some_and(|at| at > 0 && host.is_char_boundary(at) && host[at..].eq_ignore_ascii_case(suffix)),
        }
    }

    /// Exact before wildcard, a longer wildcard before a shorter.
    fn rank(host: Option<&Self>) -> (u8, usize) {
        match host {
            Some(Self::Exact(_)) => (0, 0),
            Some(Self::Below(suffix)) => (1, usize::MAX - suffix.len()),
            None => (2, 0),
        }
    }
}

/// What is asked of the table.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The host, without its port.
    pub host: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The path, without the query, as the client sent it.
    pub path: &'a str,
    /// The query, without the question mark.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// The table's answer.
#[derive(Debug)]
pub enum Found<'t, 'a, T> {
    /// A route and its path parameters.
    Route(&'t T, Vec<(&'t str, &'a str)>),
    /// The path is known, but not with this method: those it takes, joined with commas.
    WrongMethod(String),
    /// Nothing.
    Nothing,
}

/// Two routes that only their order tells apart, by their places in the list given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The earlier one.
    pub first: usize,
    /// The later one.
    pub second: usize,
}

/// Routes in order of precedence.
#[derive(Debug)]
pub struct Table<T> {
    entries: Vec<(Conditions, T)>,
    by_first: HashMap<String, Vec<u32>, foldhash::fast::RandomState>,
    /// Entries whose first segment is a parameter.
    open: Vec<u32>,
}

impl<T> Table<T> {
    /// Orders the routes.
    ///
    /// # Errors
    /// The first [`Conflict`].
    pub fn new(routes: Vec<(Conditions, T)>) -> Result<Self, Conflict> {
        for (second, (b, _)) in routes.iter().enumerate() {
            if let Some(first) = routes[..second].iter().position(|(a, _)| same(a, b)) {
                return Err(Conflict { first, second });
            }
        }
        let mut entries = routes;
        // The sort is stable: what is equally exact stays in the file's order.
        entries.sort_by(|(a, _), (b, _)| precedence(a, b));
        let mut table = Self { entries, by_first: HashMap::default(), open: Vec::new() };
        for (n, (conditions, _)) in table.entries.iter().enumerate() {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            let shape = conditions.path.shape();
            let first = first_segment(&shape);
            if first.starts_with('{') {
                table.open.push(n);
            } else {
                table.by_first.entry(first.to_owned()).or_default().push(n);
            }
        }
        Ok(table)
    }

    /// The route a request takes. Cost: the routes that share the path's first segment, plus those that begin with a
    /// parameter.
    #[must_use]
    pub fn find<'t, 'a>(&'t self, asked: Asked<'a>) -> Found<'t, 'a, T> {
        let none = Vec::new();
        let fixed = self.by_first.get(first_segment(asked.path)).unwrap_or(&none);
        let mut allow: Vec<&Method> = Vec::new();
        for n in merge(fixed, &self.open) {
            let (conditions, route) = &self.entries[n as usize];
            let Some(params) = conditions.path.matches(asked.path) else { continue };
            if !conditions.holds(asked) {
                continue;
            }
            if conditions.methods.is_empty() || conditions.methods.contains(asked.method) {
                return Found::Route(route, params);
            }
            allow.extend(&conditions.methods);
        }
        if allow.is_empty() {
            return Found::Nothing;
        }
        allow.sort_by_key(|method| method.as_str());
        allow.dedup();
        Found::WrongMethod(allow.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", "))
    }

    /// The routes, the most exact first.
    pub fn iter(&self) -> impl Iterator<Item = &(Conditions, T)> {
        self.entries.iter()
    }
}

impl Conditions {
    /// Whether everything but path and method holds.
    fn holds(&self, asked: Asked<'_>) -> bool {
        self.host.as_ref().is_none_or(|host| host.matches(asked.host))
            && self.headers.iter().all(|(name, value)| match value {
                Some(value) => asked.headers.get_all(name).iter().any(|v| v == value),
                None => asked.headers.contains_key(name),
            })
            && self.query.iter().all(|(name, value)| {
                asked.query.split('&').any(|pair| {
                    let (key, given) = pair.split_once('=').unwrap_or((pair, ""));
                    key == name && value.as_ref().is_none_or(|value| value == given)
                })
            })
    }
}

/// As a person reads it: `GET,HEAD shop.example/carts/{} x-beta=1`.
impl std::fmt::Display for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
        let host = match &self.host {
            Some(Host::Exact(name)) => name.clone(),
            Some(Host::Below(suffix)) => format!("*{suffix}"),
            None => String::new(),
        };
        write!(f, "{methods} {host}{}", self.path)?;
        for (name, value) in &self.headers {
            write!(f, " {name}={}", value.as_ref().map_or("*", |value| value.to_str().unwrap_or("?")))?;
        }
        for (name, value) in &self.query {
            write!(f, " ?{name}={}", value.as_deref().unwrap_or("*"))?;
        }
        Ok(())
    }
}

fn precedence(a: &Conditions, b: &Conditions) -> Ordering {
    let conditions = |c: &Conditions| c.headers.len() + c.query.len();
    Host::rank(a.host.as_ref())
        .cmp(&Host::rank(b.host.as_ref()))
        .then_with(|| a.path.precedence(&b.path))
        .then_with(|| a.methods.is_empty().cmp(&b.methods.is_empty()))
        .then_with(|| conditions(b).cmp(&conditions(a)))
}

/// Whether some request would take both, and nothing but their order decides.
fn same(a: &Conditions, b: &Conditions) -> bool {
    let overlap = match (a.methods.is_empty(), b.methods.is_empty()) {
        (true, true) => true,
        (false, false) => a.methods.iter().any(|method| b.methods.contains(method)),
        _ => false,
    };
    let set = |c: &Conditions| {
        let mut all: Vec<String> = c.headers.iter().map(|(name, value)| format!("h {name}={value:?}")).collect();
        all.extend(c.query.iter().map(|(name, value)| format!("q {name}={value:?}")));
        all.sort();
        all
    };
    overlap && a.host == b.host && a.path.shape() == b.path.shape() && set(a) == set(b)
}

fn first_segment(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path).split('/').next().unwrap_or("")
}

/// Two ascending lists as one.
fn merge<'l>(a: &'l [u32], b: &'l [u32]) -> impl Iterator<Item = u32> + 'l {
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) => {
            if x < y {
                a.next()
            } else {
                b.next()
            }
        }
        (Some(_), None) => a.next(),
        (None, _) => b.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: &str, method: &str, path: &str, header: &str) -> Conditions {
        Conditions {
            host: (!host.is_empty()).then(|| Host::parse(host)),
            methods: method.split(',').filter(|m| !m.is_empty()).map(|m| m.parse().unwrap()).collect(),
            path: Pattern::parse(path).unwrap(),
            headers: header
                .split(',')
                .filter(|h| !h.is_empty())
                .map(|h| {
                    let (name, value) = h.split_once('=').unwrap();
                    (name.parse().unwrap(), (value != "*").then(|| value.parse().unwrap()))
                })
                .collect(),
            query: Vec::new(),
        }
    }

    fn find(table: &Table<&'static str>, host: &str, method: &str, path: &str, header: &str) -> String {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header.split_once('=') {
            headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let method = method.parse().unwrap();
        match table.find(Asked { host, method: &method, path, query: "", headers: &headers }) {
            Found::Route(name, params) => {
                params.iter().fold((*name).to_owned(), |text, (key, value)| format!("{text} {key}={value}"))
            }
            Found::WrongMethod(allow) => format!("405 {allow}"),
            Found::Nothing => "404".into(),
        }
    }

    #[test]
    fn the_more_exact_route_wins() {
        let table = Table::new(vec![
            (route("", "", "/{*rest}", ""), "all"),
            (route("", "", "/carts/{id}", ""), "cart"),
            (route("", "GET", "/carts/{id}", ""), "get cart"),
            (route("", "GET", "/carts/{id}", "x-beta=1"), "beta cart"),
            (route("", "GET", "/carts/mine", ""), "mine"),
            (route("*.shop.example", "", "/carts/{id}", ""), "shop"),
            (route("www.shop.example", "", "/{*rest}", ""), "www"),
            (route("", "POST,PUT", "/only", ""), "write"),
        ])
        .unwrap();
        assert_eq!(find(&table, "a", "GET", "/carts/7", ""), "get cart id=7");
        assert_eq!(find(&table, "a", "GET", "/carts/7", "x-beta=1"), "beta cart id=7");
        assert_eq!(find(&table, "a", "GET", "/carts/7", "x-beta=2"), "get cart id=7");
        assert_eq!(find(&table, "a", "POST", "/carts/7", ""), "cart id=7");
        assert_eq!(find(&table, "a", "GET", "/carts/mine", ""), "mine");
        assert_eq!(find(&table, "a", "POST", "/carts/mine", ""), "cart id=mine");
        assert_eq!(find(&table, "de.shop.example", "GET", "/carts/7", ""), "shop id=7");
        assert_eq!(find(&table, "WWW.shop.example", "GET", "/carts/7", ""), "www rest=carts/7");
        assert_eq!(find(&table, ".shop.example", "GET", "/x", ""), "all rest=x");
        assert_eq!(find(&table, "a", "GET", "/only", ""), "all rest=only");
    }

    #[test]
    fn a_known_path_with_another_method_says_which_it_takes() {
        let table = Table::new(vec![(route("", "GET", "/a", ""), "get"), (route("", "POST,GET", "/a", "x=1"), "post")])
            .unwrap();
        assert_eq!(find(&table, "", "PUT", "/a", "x=1"), "405 GET, POST");
        assert_eq!(find(&table, "", "PUT", "/b", ""), "404");
    }

    #[test]
    fn routes_that_only_order_tells_apart_conflict() {
        let conflict = |a, b| Table::new(vec![(a, "a"), (b, "b")]).err();
        let both = Some(Conflict { first: 0, second: 1 });
        assert_eq!(conflict(route("", "", "/a/{x}", ""), route("", "", "/a/{y}", "")), both);
        assert_eq!(conflict(route("", "GET", "/a", ""), route("", "POST,GET", "/a", "")), both);
        assert_eq!(conflict(route("", "GET", "/a", ""), route("", "", "/a", "")), None);
        assert_eq!(conflict(route("", "GET", "/a", ""), route("", "POST", "/a", "")), None);
        assert_eq!(conflict(route("h", "", "/a", ""), route("", "", "/a", "")), None);
        assert_eq!(conflict(route("", "", "/a", "x=1"), route("", "", "/a", "x=2")), None);
    }
}
