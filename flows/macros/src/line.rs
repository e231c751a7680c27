//! The lines of a flow: what each calls, what it reads, and which orders of lines are none.

use std::collections::HashMap;

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::quote;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Attribute, Expr, ExprCall, ItemFn, LitInt, LitStr, Pat, Path, Stmt, Token};

use crate::attribute::{Errors, did_you_mean, duration};

/// One line of a flow.
pub(crate) struct Line {
    pub(crate) slot: Ident,
    pub(crate) step: Path,
    pub(crate) call: ExprCall,
    pub(crate) optional: bool,
    pub(crate) when: Option<Expr>,
    pub(crate) after: Vec<Ident>,
    pub(crate) timeout: TokenStream,
    /// How often it may be tried again.
    pub(crate) retries: u32,
    /// The slots its arguments and its condition name.
    pub(crate) reads: Vec<Ident>,
}

impl Line {
    pub(crate) fn may_be_missing(&self) -> bool {
        self.optional || self.when.is_some()
    }
}

const LINE_ATTRIBUTES: [&str; 5] = ["optional", "timeout", "retry", "when", "after"];

fn line(slot: Ident, attrs: &[Attribute], value: &Expr, errors: &mut Errors) -> Option<Line> {
    let step = match value {
        Expr::Call(call) => match &*call.func {
            Expr::Path(path) => Some((path.path.clone(), call.clone())),
            _ => None,
        },
        _ => None,
    };
    let Some((step, call)) = step else {
        let hint = match value {
            Expr::Await(_) => "a flow declares, it does not run: leave `.await` out",
            Expr::Try(_) => "a flow declares, it does not run: leave `?` out; a step that fails ends the flow",
            _ => "a flow's line is `let slot = step(slots…);`; put other code into a step",
        };
        errors.push(value.span(), hint);
        return None;
    };
    let none = quote!(::core::option::Option::None);
    let mut line = Line {
        slot,
        step,
        call,
        optional: false,
        when: None,
        after: Vec::new(),
        timeout: none,
        retries: 0,
        reads: Vec::new(),
    };
    for attr in attrs {
        let name = attr.path().get_ident().map(ToString::to_string).unwrap_or_default();
        let read = match name.as_str() {
            "doc" => Ok(()),
            "optional" => attr.meta.require_path_only().map(|_| line.optional = true),
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
    Some(line)
}

/// Finds the names that stand for themselves in an expression.
struct Names<'s> {
    slots: &'s HashMap<String, usize>,
    found: Vec<Ident>,
}

impl Names<'_> {
    fn add(&mut self, ident: &Ident) {
        if self.slots.contains_key(&ident.to_string()) {
            self.found.push(ident.clone());
        }
    }

    /// Tokens of a macro: a name after a dot is a field, everything else may be a slot.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut after_dot = false;
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) if !after_dot => self.add(ident),
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
            after_dot = matches!(&token, TokenTree::Punct(p) if p.as_char() == '.');
        }
    }
}

impl<'a> Visit<'a> for Names<'_> {
    fn visit_path(&mut self, path: &'a Path) {
        if let Some(ident) = path.get_ident() {
            self.add(ident);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'a syn::Macro) {
        self.tokens(mac.tokens.clone());
    }
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
        _ => &[],
    }
}

/// Fills in what each line reads, and refuses a second writer, a read before the write and a wait for nobody.
pub(crate) fn connect(lines: &mut [Line], req: Option<&Ident>, errors: &mut Errors) {
    let mut slots: HashMap<String, usize> = HashMap::new();
    for (n, line) in lines.iter().enumerate() {
        let name = line.slot.to_string();
        if let Some(first) = slots.get(&name) {
            let twice = "has two writers; a slot is written by exactly one step: rename one of them";
            errors.push(line.slot.span(), format!("slot `{name}` {twice}"));
            errors.push(lines[*first].slot.span(), format!("slot `{name}` is first written here"));
        } else if req.is_some_and(|req| *req == name) {
            errors.push(line.slot.span(), format!("`{name}` is the request already: give this slot another name"));
        } else {
            slots.insert(name, n);
        }
    }
    for n in 0..lines.len() {
        let mut names = Names { slots: &slots, found: Vec::new() };
        lines[n].call.args.iter().for_each(|arg| names.visit_expr(arg));
        if let Some(when) = &lines[n].when {
            names.visit_expr(when);
        }
        let mut found = names.found;
        for slot in &lines[n].after {
            if slots.contains_key(&slot.to_string()) {
                found.push(slot.clone());
            } else {
                let known: Vec<&str> = slots.keys().map(String::as_str).collect();
                let near = did_you_mean(&slot.to_string(), &known);
                errors.push(slot.span(), format!("no slot is called `{slot}`{near}"));
            }
        }
        for read in found {
            let writer = slots[&read.to_string()];
            if writer >= n {
                errors.push(read.span(), format!("slot `{read}` is read here before it is written"));
                if writer > n {
                    let text = format!("`{read}` is written here: move this line above its first reader");
                    errors.push(lines[writer].slot.span(), text);
                }
            } else if !lines[n].reads.contains(&read) && !lines[n].after.contains(&read) {
                lines[n].reads.push(read);
            }
        }
    }
}
