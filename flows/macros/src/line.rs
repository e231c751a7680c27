//! The lines of a flow: what each calls, and what its attributes say of it.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ItemFn, LitInt, LitStr, Pat, Stmt, Token};

use crate::attribute::{Errors, did_you_mean, duration};
use crate::branch::{Branch, Collect, Join, Value, value};
use crate::call::Call;

/// One line of a flow.
pub(crate) struct Line {
    pub(crate) slot: Ident,
    pub(crate) value: Value,
    pub(crate) optional: bool,
    pub(crate) when: Option<Expr>,
    pub(crate) after: Vec<Ident>,
    pub(crate) timeout: TokenStream,
    /// How often it may be tried again.
    pub(crate) retries: u32,
    pub(crate) idempotent: bool,
    /// What it gives is not shown to anybody.
    pub(crate) sensitive: bool,
    /// The tokens of an `Option<Priority>`.
    pub(crate) priority: TokenStream,
    pub(crate) undo: Option<Call>,
    pub(crate) cleanup: Option<Call>,
    /// The slots its arguments and its condition name.
    pub(crate) reads: Vec<Ident>,
}

impl Line {
    pub(crate) fn may_be_missing(&self) -> bool {
        self.optional || self.when.is_some()
    }

    /// Where its steps are written.
    pub(crate) fn span(&self) -> proc_macro2::Span {
        match &self.value {
            Value::Step(call) => call.step.span(),
            _ => self.slot.span(),
        }
    }
}

const LINE_ATTRIBUTES: [&str; 11] = [
    "optional",
    "timeout",
    "retry",
    "when",
    "after",
    "idempotent",
    "fallback",
    "compensate",
    "cleanup",
    "priority",
    "sensitive",
];
const PRIORITIES: [&str; 3] = ["interactive", "batch", "critical"];

fn line(slot: Ident, attrs: &[Attribute], expr: &Expr, errors: &mut Errors) -> Option<Line> {
    let value = match value(expr) {
        Ok(value) => value,
        Err(error) => {
            errors.add(error);
            return None;
        }
    };
    let none = quote!(::core::option::Option::None);
    let mut line = Line {
        slot,
        value,
        optional: false,
        when: None,
        after: Vec::new(),
        timeout: none.clone(),
        retries: 0,
        idempotent: false,
        sensitive: false,
        priority: none,
        undo: None,
        cleanup: None,
        reads: Vec::new(),
    };
    let mut fallback = None;
    for attr in attrs {
        let name = attr.path().get_ident().map(ToString::to_string).unwrap_or_default();
        let read = match name.as_str() {
            "doc" => Ok(()),
            "optional" => attr.meta.require_path_only().map(|_| line.optional = true),
            "idempotent" => attr.meta.require_path_only().map(|_| line.idempotent = true),
            "sensitive" => attr.meta.require_path_only().map(|_| line.sensitive = true),
            "timeout" => attr.parse_args::<LitStr>().and_then(|t| duration(&t)).map(|t| line.timeout = t),
            "retry" => attr.parse_args::<LitInt>().and_then(|more| match more.base10_parse() {
                Ok(n @ 1..=10) => {
                    line.retries = n;
                    Ok(())
                }
                _ => Err(syn::Error::new(more.span(), "a step may be tried again 1 to 10 times")),
            }),
            "when" => attr.parse_args::<Expr>().map(|when| line.when = Some(when)),
            "after" => {
                let list = syn::punctuated::Punctuated::<Ident, Token![,]>::parse_terminated;
                attr.parse_args_with(list).map(|slots| line.after.extend(slots))
            }
            "fallback" => attr.parse_args::<Call>().map(|call| fallback = Some((call, attr))),
            "compensate" => attr.parse_args::<Call>().map(|call| line.undo = Some(call)),
            "cleanup" => attr.parse_args::<Call>().map(|call| line.cleanup = Some(call)),
            "priority" => attr.parse_args::<Ident>().and_then(|word| priority(&word)).map(|p| line.priority = p),
            _ => {
                let near = did_you_mean(&name, &LINE_ATTRIBUTES);
                let known = LINE_ATTRIBUTES.map(|a| format!("#[{a}]")).join(", ");
                let near = if near.is_empty() { format!("; there are {known}") } else { near };
                Err(syn::Error::new(attr.path().span(), format!("unknown attribute `{name}` of a flow's line{near}")))
            }
        };
        if let Err(error) = read {
            errors.add(error);
        }
    }
    match fallback {
        None => Some(line),
        Some((call, attr)) => with_fallback(line, call, attr, errors),
    }
}

fn priority(word: &Ident) -> syn::Result<TokenStream> {
    let variant = match word.to_string().as_str() {
        "interactive" => quote!(Interactive),
        "batch" => quote!(Batch),
        "critical" => quote!(Critical),
        other => {
            let near = did_you_mean(other, &PRIORITIES);
            let near = if near.is_empty() { format!("; there are {}", PRIORITIES.join(", ")) } else { near };
            return Err(syn::Error::new(word.span(), format!("unknown priority `{other}`{near}")));
        }
    };
    Ok(quote!(::core::option::Option::Some(::zerver_flows::adapter::Priority::#variant)))
}

/// A step with a fallback is a join of the two, one after the other; what the line allows the step is for the step.
fn with_fallback(mut line: Line, call: Call, attr: &Attribute, errors: &mut Errors) -> Option<Line> {
    let Value::Step(step) = line.value else {
        errors.push(attr.span(), "a join has branches for that: add one to `first_ok!(sequential: …)`");
        return None;
    };
    let none = quote!(::core::option::Option::None);
    let timeout = std::mem::replace(&mut line.timeout, none);
    let first = Branch { timeout, retries: std::mem::take(&mut line.retries), ..Branch::required(step) };
    line.value = Value::Join(Join {
        word: "fallback".to_owned(),
        take: quote!(::zerver_flows::generated::Take::FirstOk),
        start: quote!(::zerver_flows::generated::Start::OneByOne),
        collect: Collect::Only,
        branches: vec![first, Branch::required(call)],
    });
    Some(line)
}

/// The lines of a flow's body.
pub(crate) fn lines(function: &ItemFn, errors: &mut Errors) -> Vec<Line> {
    let mut lines = Vec::new();
    let statements = &function.block.stmts;
    for (n, statement) in statements.iter().enumerate() {
        let last = n + 1 == statements.len();
        match statement {
            Stmt::Local(local) => {
                let (slot, value) = match (&local.pat, &local.init) {
                    (Pat::Ident(pat), Some(init)) if pat.subpat.is_none() && init.diverge.is_none() => {
                        (pat, &init.expr)
                    }
                    _ => {
                        errors
                            .push(local.pat.span(), "a flow's line is `let slot = step(slots…);` with one plain name");
                        continue;
                    }
                };
                if let Some(mutability) = &slot.mutability {
                    errors.push(mutability.span(), "a slot is written once: leave `mut` out");
                }
                lines.extend(line(slot.ident.clone(), &local.attrs, value, errors));
                if last {
                    errors.push(local.span(), "a flow ends with the step that makes its answer: `respond(slots…)`");
                }
            }
            Stmt::Expr(value, None) if last => {
                let (attrs, mut value) = (expr_attrs(value).to_vec(), value.clone());
                if let Expr::Call(call) = &mut value {
                    call.attrs.clear();
                }
                let slot = Ident::new("respond", value.span());
                lines.extend(line(slot, &attrs, &value, errors));
                if let Some(attr) = attrs.iter().find(|a| a.path().is_ident("optional") || a.path().is_ident("when")) {
                    errors.push(attr.span(), "the step that makes the answer cannot be left out");
                }
            }
            Stmt::Macro(mac) if last && mac.semi_token.is_none() => {
                let value = Expr::Macro(syn::ExprMacro { attrs: Vec::new(), mac: mac.mac.clone() });
                lines.extend(line(Ident::new("respond", mac.span()), &mac.attrs, &value, errors));
            }
            other => errors.push(
                other.span(),
                "a flow is `let slot = step(slots…);` lines and one final step; put other code into a step",
            ),
        }
    }
    if statements.is_empty() {
        errors.push(function.sig.ident.span(), "a flow ends with the step that makes its answer: `respond(slots…)`");
    }
    lines
}

fn expr_attrs(value: &Expr) -> &[Attribute] {
    match value {
        Expr::Call(call) => &call.attrs,
        Expr::Macro(mac) => &mac.attrs,
        _ => &[],
    }
}
