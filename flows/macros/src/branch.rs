//! Joins and loops as a flow writes them: `hedge!(after 80ms: quote(cart, "eu"), quote(cart, "us"))`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, LitInt, Macro, Result, Token};

use crate::attribute::did_you_mean;
use crate::call::Call;

/// What a line's slot holds.
pub(crate) enum Value {
    /// What one step gives.
    Step(Call),
    /// What several give.
    Join(Join),
    /// What a step gives for each item of a list.
    Each(Box<Each>),
}

/// A join of branches.
pub(crate) struct Join {
    pub(crate) word: String,
    /// The tokens of `Take` and `Start`.
    pub(crate) take: TokenStream,
    pub(crate) start: TokenStream,
    pub(crate) collect: Collect,
    pub(crate) branches: Vec<Branch>,
}

/// How the values of branches become the slot's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collect {
    /// A tuple of all, options where a branch is optional.
    Tuple,
    /// The one there is.
    Only,
    /// A list of those there are.
    List,
}

/// A branch of a join.
pub(crate) struct Branch {
    pub(crate) call: Call,
    pub(crate) optional: bool,
    /// The tokens of an `Option<Duration>`.
    pub(crate) timeout: TokenStream,
    pub(crate) retries: u32,
}

/// A loop over a list.
pub(crate) struct Each {
    pub(crate) item: Ident,
    pub(crate) list: Expr,
    pub(crate) most: u16,
    pub(crate) parallel: u16,
    pub(crate) optional: bool,
    pub(crate) call: Call,
}

const WORDS: [&str; 8] = ["all", "all_required", "any", "first_ok", "race", "quorum", "hedge", "each"];
/// The most branches or items: the driver keeps them in one 128-bit mask.
const BRANCHES_MAX: usize = 128;

impl Branch {
    pub(crate) fn required(call: Call) -> Self {
        Self { call, optional: false, timeout: none(), retries: 0 }
    }
}

/// What there is instead of `word`.
fn near(word: &str, known: &[&str]) -> String {
    let near = did_you_mean(word, known);
    if near.is_empty() { format!("; there are {}", known.join(", ")) } else { near }
}

fn none() -> TokenStream {
    quote!(::core::option::Option::None)
}

/// Reads what stands after the `=` of a line.
pub(crate) fn value(expr: &Expr) -> Result<Value> {
    match expr {
        Expr::Macro(join) => macro_value(&join.mac),
        other => Call::of(other).map(Value::Step),
    }
}

fn macro_value(mac: &Macro) -> Result<Value> {
    let word = mac.path.get_ident().map(ToString::to_string).unwrap_or_default();
    if !WORDS.contains(&word.as_str()) {
        let near = near(&word, &WORDS);
        return Err(Error::new_spanned(&mac.path, format!("`{word}!` is no join of a flow{near}")));
    }
    let at = mac.path.segments.last().map_or_else(Span::call_site, |segment| segment.ident.span());
    if word == "each" {
        return each.parse2(mac.tokens.clone()).map(|each| Value::Each(Box::new(each)));
    }
    (|input: ParseStream<'_>| join(&word, at, input)).parse2(mac.tokens.clone()).map(Value::Join)
}

/// What stands before the colon.
#[derive(Default)]
struct Options {
    sequential: bool,
    at_most: Option<u16>,
    needed: Option<LitInt>,
    /// The tokens of a `Start`.
    after: Option<TokenStream>,
}

fn options(word: &str, input: ParseStream<'_>) -> Result<Options> {
    let mut options = Options::default();
    let begins = |input: ParseStream<'_>| {
        let fork = input.fork();
        let word = fork.call(Ident::parse_any).map(|word| word.to_string()).unwrap_or_default();
        let known = matches!(word.as_str(), "sequential" | "at_most" | "after") && !fork.peek(syn::token::Paren);
        input.peek(LitInt) || known || fork.peek(Token![:]) && !fork.peek(Token![::])
    };
    if !begins(input) {
        return Ok(options);
    }
    loop {
        if input.peek(LitInt) {
            options.needed = Some(input.parse()?);
        } else {
            let key = input.call(Ident::parse_any)?;
            match key.to_string().as_str() {
                "sequential" => options.sequential = true,
                "at_most" => options.at_most = Some(input.parse::<LitInt>()?.base10_parse()?),
                "after" => options.after = Some(delay(input)?),
                other => {
                    let near = near(other, &["sequential", "at_most", "after"]);
                    return Err(Error::new(key.span(), format!("unknown word `{other}` of `{word}!`{near}")));
                }
            }
        }
        if input.parse::<Option<Token![,]>>()?.is_none() {
            break;
        }
    }
    if !input.peek(Token![:]) {
        return Err(input.error(format!("a colon separates what `{word}!` does from its branches")));
    }
    input.parse::<Token![:]>()?;
    Ok(options)
}

/// `80ms`, `p95`, `p95 or 80ms`: the tokens of a `Start`.
fn delay(input: ParseStream<'_>) -> Result<TokenStream> {
    let start = quote!(::zerver_flows::generated::Start);
    if input.peek(LitInt) {
        let nanos = time(&input.parse()?)?;
        return Ok(quote!(#start::After(::core::time::Duration::from_nanos(#nanos))));
    }
    let word: Ident = input.parse()?;
    let percent =
        word.to_string().strip_prefix('p').and_then(|p| p.parse::<u8>().ok()).filter(|p| (1..=99).contains(p));
    let Some(percent) = percent else {
        return Err(Error::new(word.span(), "write how long to wait as `80ms`, or as a percentile, `p95`"));
    };
    // As long as a careful person would wait, until there are measurements.
    let mut nanos = 100_000_000_u64;
    if input.peek(Ident::peek_any) && input.fork().call(Ident::parse_any).is_ok_and(|word| word == "or") {
        input.call(Ident::parse_any)?;
        nanos = time(&input.parse()?)?;
    }
    Ok(quote!(#start::AfterPercentile(#percent, ::core::time::Duration::from_nanos(#nanos))))
}

/// `80ms` as nanoseconds.
fn time(literal: &LitInt) -> Result<u64> {
    let number: u64 = literal.base10_digits().parse().unwrap_or(0);
    let unit = match literal.suffix() {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return Err(Error::new(literal.span(), "a time has a unit: `500us`, `80ms` or `2s`")),
    };
    Ok(number.saturating_mul(unit).min(86_400_000_000_000))
}

fn join(word: &str, at: Span, input: ParseStream<'_>) -> Result<Join> {
    let options = options(word, input)?;
    let branch = |input: ParseStream<'_>| {
        let optional = is_optional(input)?;
        Ok(Branch { optional, ..Branch::required(input.parse()?) })
    };
    let branches: Vec<Branch> =
        Punctuated::<Branch, Token![,]>::parse_terminated_with(input, branch)?.into_iter().collect();
    if branches.is_empty() || branches.len() > BRANCHES_MAX {
        return Err(Error::new(at, format!("`{word}!` has 1 to {BRANCHES_MAX} branches: `{word}!(a(x), b(x))`")));
    }
    let all = word.starts_with("all");
    if let Some(branch) = branches.iter().find(|branch| branch.optional && !all) {
        let why = format!("every branch of `{word}!` may fail; `optional` is for `all!` and `all_required!`");
        return Err(Error::new_spanned(&branch.call.step, why));
    }
    if word == "all_required" && branches.iter().all(|branch| branch.optional) {
        return Err(Error::new(at, "`all_required!` waits for its required branches, and has none"));
    }
    let (take, start) = (quote!(::zerver_flows::generated::Take), quote!(::zerver_flows::generated::Start));
    let (take, collect) = match word {
        "all" => (quote!(#take::All), Collect::Tuple),
        "all_required" => (quote!(#take::AllRequired), Collect::Tuple),
        "race" => (quote!(#take::First), Collect::Only),
        "quorum" => {
            let wrong = "`quorum!` begins with how many successes it needs, at most as many as there are branches: `quorum!(2: …)`";
            let needed = options.needed.as_ref().ok_or_else(|| Error::new(at, wrong))?;
            let number: u16 = needed.base10_parse()?;
            if number == 0 || usize::from(number) > branches.len() {
                return Err(Error::new(needed.span(), wrong));
            }
            (quote!(#take::Quorum(#number)), Collect::List)
        }
        _ => (quote!(#take::FirstOk), Collect::Only),
    };
    if let Some(number) = options.needed.filter(|_| word != "quorum") {
        return Err(Error::new(number.span(), format!("`{word}!` takes no number; `quorum!` does")));
    }
    let start = match (word, options.after, options.sequential, options.at_most) {
        ("hedge", Some(after), false, None) => after,
        ("hedge", ..) => {
            let why =
                "`hedge!` begins with how long it gives a branch before the next one helps: `hedge!(after 80ms: …)`";
            return Err(Error::new(at, why));
        }
        (_, Some(_), ..) => return Err(Error::new(at, format!("`after` is for `hedge!`, not for `{word}!`"))),
        (_, _, true, _) => quote!(#start::OneByOne),
        (_, _, _, Some(most)) => quote!(#start::AtMost(#most)),
        _ => quote!(#start::Together),
    };
    Ok(Join { word: word.to_owned(), take, start, collect, branches })
}

fn is_optional(input: ParseStream<'_>) -> Result<bool> {
    let fork = input.fork();
    let optional = fork.call(Ident::parse_any).is_ok_and(|word| word == "optional") && fork.peek(syn::Ident);
    if optional {
        input.call(Ident::parse_any)?;
    }
    Ok(optional)
}

/// `item in &cart.items, max 20, parallel 5: price_of(item)`.
fn each(input: ParseStream<'_>) -> Result<Each> {
    let form = "a loop is `each!(item in &cart.items, max 20, parallel 5: price_of(item))`";
    let wrong = |error: Error| Error::new(error.span(), form);
    let item: Ident = input.parse().map_err(wrong)?;
    input.parse::<Token![in]>().map_err(wrong)?;
    let list: Expr = input.parse()?;
    let (mut most, mut parallel) = (None, None);
    while input.parse::<Option<Token![,]>>()?.is_some() {
        let key = input.call(Ident::parse_any).map_err(wrong)?;
        let number: LitInt = input.parse().map_err(wrong)?;
        let place = match key.to_string().as_str() {
            "max" => &mut most,
            "parallel" => &mut parallel,
            other => {
                let near = near(other, &["max", "parallel"]);
                return Err(Error::new(key.span(), format!("unknown word `{other}` of `each!`{near}")));
            }
        };
        *place = Some(match number.base10_parse() {
            Ok(n) if (1..=BRANCHES_MAX as u16).contains(&n) => n,
            _ => return Err(Error::new(number.span(), format!("this is a number from 1 to {BRANCHES_MAX}"))),
        });
    }
    let Some(most) = most else {
        return Err(Error::new(item.span(), format!("a loop says how many items it takes at most; {form}")));
    };
    input.parse::<Token![:]>().map_err(wrong)?;
    let optional = is_optional(input)?;
    Ok(Each { item, list, most, parallel: parallel.unwrap_or(most), optional, call: input.parse()? })
}
