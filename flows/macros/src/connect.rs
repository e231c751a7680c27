//! What the lines of a flow read, and which orders of lines are none.

use std::collections::HashMap;

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Expr, Path};

use crate::attribute::{Errors, did_you_mean};
use crate::branch::Value;
use crate::call::Call;
use crate::line::Line;

/// Finds the names that stand for themselves in an expression.
struct Names<'s> {
    slots: &'s HashMap<String, usize>,
    /// The name of a loop's item, which is no slot.
    bound: Option<&'s Ident>,
    found: Vec<Ident>,
}

impl Names<'_> {
    fn add(&mut self, ident: &Ident) {
        if self.slots.contains_key(&ident.to_string()) && self.bound != Some(ident) {
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

    fn call(&mut self, call: &Call) {
        call.call.args.iter().for_each(|arg| self.visit_expr(arg));
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

/// The slots that a line names in its value and its condition.
fn named(line: &Line, slots: &HashMap<String, usize>) -> Vec<Ident> {
    let mut names = Names { slots, bound: None, found: Vec::new() };
    if let Some(when) = &line.when {
        names.visit_expr(when);
    }
    match &line.value {
        Value::Step(call) => names.call(call),
        Value::Join(join) => join.branches.iter().for_each(|branch| names.call(&branch.call)),
        Value::Each(each) => {
            names.visit_expr(&each.list);
            let mut inner = Names { slots, bound: Some(&each.item), found: Vec::new() };
            inner.call(&each.call);
            names.found.append(&mut inner.found);
        }
    }
    names.found
}

/// The slots that a call names.
pub(crate) fn named_in(call: &Call, lines: &[Line]) -> Vec<Ident> {
    let slots = lines.iter().enumerate().map(|(n, line)| (line.slot.to_string(), n)).collect();
    let mut names = Names { slots: &slots, bound: None, found: Vec::new() };
    call.call.args.iter().for_each(|arg: &Expr| names.visit_expr(arg));
    let mut once: Vec<Ident> = Vec::new();
    for ident in names.found {
        if !once.contains(&ident) {
            once.push(ident);
        }
    }
    once
}

/// Fills in what each line reads, and refuses a second writer, a read before the write and a wait for nobody. `given`
/// are names that are there without a line: the request, a sub-flow's parameters.
pub(crate) fn connect(lines: &mut [Line], given: &[Ident], errors: &mut Errors) {
    let mut slots: HashMap<String, usize> = HashMap::new();
    for (n, line) in lines.iter().enumerate() {
        let name = line.slot.to_string();
        if let Some(first) = slots.get(&name) {
            let twice = "has two writers; a slot is written by exactly one step: rename one of them";
            errors.push(line.slot.span(), format!("slot `{name}` {twice}"));
            errors.push(lines[*first].slot.span(), format!("slot `{name}` is first written here"));
        } else if given.iter().any(|given| *given == name) {
            let what = if name == "req" { "the request" } else { "a parameter" };
            errors.push(line.slot.span(), format!("`{name}` is {what} already: give this slot another name"));
        } else {
            slots.insert(name, n);
        }
    }
    for n in 0..lines.len() {
        let mut found = named(&lines[n], &slots);
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
    for n in 0..lines.len() {
        for call in [&lines[n].undo, &lines[n].cleanup].into_iter().flatten() {
            there_by_then(lines, n, call, errors);
        }
    }
}

/// What a line's undo and cleanup steps read has to be there when they run: its own slot, and what that waited for.
fn there_by_then(lines: &[Line], n: usize, call: &Call, errors: &mut Errors) {
    let mut there = vec![n];
    let mut at = 0;
    while at < there.len() {
        let line = &lines[there[at]];
        for before in line.reads.iter().chain(&line.after) {
            let writer = lines.iter().position(|line| line.slot == *before);
            there.extend(writer.filter(|w| !there.contains(w)));
        }
        at += 1;
    }
    for ident in named_in(call, lines) {
        if !there.iter().any(|n| lines[*n].slot == ident) {
            let slot = &lines[n].slot;
            let help = format!("`{slot}` does not wait for it: add `#[after({ident})]` to the line of `{slot}`");
            errors.push(ident.span(), format!("slot `{ident}` may not be written when `{slot}` is; {help}"));
        }
    }
}
