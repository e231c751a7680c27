//! The code of a flow's body: its slots, its node futures, and what comes when these are over.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};

use crate::branch::{Branch, Collect, Each, Join, Value};
use crate::call::Call;
use crate::connect::named_in;
use crate::line::Line;

/// A name that the user's code cannot see.
fn hidden(kind: &str, slot: &impl std::fmt::Display) -> Ident {
    format_ident!("__{kind}_{slot}", span = Span::mixed_site())
}

/// The statements that run `lines` on `__run` and end with the last slot's value. `on_error` is the step that answers for
/// a flow that failed.
pub(crate) fn body(lines: &[Line], on_error: Option<&Call>) -> TokenStream {
    let slots = lines.iter().map(|line| {
        let slot = hidden("slot", &line.slot);
        quote!(let #slot = ::zerver_flows::generated::Slot::new();)
    });
    let nodes = lines.iter().enumerate().map(|(n, line)| node(lines, n, line));
    let names = lines.iter().map(|line| {
        let node = hidden("node", &line.slot);
        quote_spanned!(line.span()=> #node)
    });
    let undo = afterwards(lines, |line| line.undo.as_ref(), Kind::Undo);
    let cleanup = afterwards(lines, |line| line.cleanup.as_ref(), Kind::Cleanup);
    let on_error = on_error.map(instead);
    let last = hidden("slot", &lines[lines.len() - 1].slot);
    quote! {
        #(#slots)*
        let __ended = {
            #(#nodes)*
            ::zerver_flows::generated::drive(__run, &mut [#(#names),*]).await
        };
        #undo
        #cleanup
        #on_error
        __ended?;
        ::core::result::Result::Ok(#last.taken())
    }
}

/// The slots a piece of code reads, under the names that the user gave them.
fn reads(lines: &[Line], names: &[Ident]) -> TokenStream {
    let each = names.iter().map(|read| {
        let from = hidden("slot", read);
        let missing = lines.iter().any(|line| line.slot == *read && line.may_be_missing());
        let get = if missing { quote!(maybe) } else { quote!(get) };
        quote!(let #read = #from.#get();)
    });
    quote!(#(#each)*)
}

fn node(lines: &[Line], n: usize, line: &Line) -> TokenStream {
    let (slot, node) = (hidden("slot", &line.slot), hidden("node", &line.slot));
    let reads = reads(lines, &line.reads);
    let when = line.when.as_ref().map(|when| {
        quote! {
            let __holds: bool = #when;
            if !__holds {
                return ::zerver_flows::Result::Ok(::zerver_flows::generated::Wrote::Nothing);
            }
        }
    });
    let value = match &line.value {
        Value::Step(call) => call.tokens(),
        Value::Join(join) => join_tokens(join, line.sensitive),
        Value::Each(each) => each_tokens(each),
    };
    let value = retried(line.retries, value);
    let shown = shown(line.sensitive);
    quote! {
        let mut #node = ::core::pin::pin!(::zerver_flows::generated::node(async {
            let __fx = __run.fx(#n);
            #reads
            #when
            let __value = #value.await?;
            #shown
            #slot.put(__value);
            ::zerver_flows::Result::Ok(::zerver_flows::generated::Wrote::Slot)
        }));
    }
}

/// Keeps a value for those who ask to see it.
fn shown(is_sensitive: bool) -> TokenStream {
    quote! {
        {
            use ::zerver_flows::generated::{AsJson as _, AsName as _};
            __fx.show(#is_sensitive, || (&&::zerver_flows::generated::Shown(&__value)).__shown());
        }
    }
}

fn retried(times: u32, value: TokenStream) -> TokenStream {
    if times == 0 { value } else { quote!(::zerver_flows::generated::retry(&__fx, #times, || #value)) }
}

fn join_tokens(join: &Join, is_sensitive: bool) -> TokenStream {
    let shown = shown(is_sensitive);
    let slots: Vec<Ident> = (1..=join.branches.len()).map(|n| hidden("branch", &n)).collect();
    let nodes: Vec<Ident> = (1..=join.branches.len()).map(|n| hidden("branch_node", &n)).collect();
    let branch = |(n, branch): (usize, &Branch)| {
        let (slot, node) = (&slots[n], &nodes[n]);
        let value = retried(branch.retries, branch.call.tokens());
        quote! {
            let mut #node = ::core::pin::pin!(::zerver_flows::generated::node(async {
                let __fx = __inside.fx(#n);
                let __value = #value.await?;
                #shown
                #slot.put(__value);
                ::zerver_flows::Result::Ok(::zerver_flows::generated::Wrote::Slot)
            }));
        }
    };
    let futures = join.branches.iter().enumerate().map(branch);
    let values = match join.collect {
        Collect::Only => quote!(::zerver_flows::generated::only([#(#slots),*])),
        Collect::List => quote!(::zerver_flows::generated::written([#(#slots),*])),
        Collect::Tuple => {
            let values = join
                .branches
                .iter()
                .zip(&slots)
                .map(|(branch, slot)| if branch.optional { quote!(#slot.take()) } else { quote!(#slot.taken()) });
            quote!((#(#values,)*))
        }
    };
    quote! {
        async {
            let __inside = __fx.inside();
            #(let #slots = ::zerver_flows::generated::Slot::new();)*
            {
                #(#futures)*
                ::zerver_flows::generated::drive(&__inside, &mut [#(#nodes),*]).await?;
            }
            ::core::result::Result::<_, ::zerver_flows::Exit>::Ok(#values)
        }
    }
}

fn each_tokens(each: &Each) -> TokenStream {
    let Each { item, list, most, optional, call, .. } = each;
    let call = call.tokens();
    let taken = if *optional { quote!(take) } else { quote!(taken) };
    quote! {
        async {
            let __inside = &__fx.inside();
            let __items: ::std::vec::Vec<_> = ::core::iter::IntoIterator::into_iter(#list).collect();
            ::zerver_flows::generated::fits(__items.len(), #most)?;
            let __slots: ::std::vec::Vec<_> =
                __items.iter().map(|_| ::zerver_flows::generated::Slot::new()).collect();
            let __nodes = __items.into_iter().zip(&__slots).enumerate().map(|(__n, (#item, __slot))| {
                ::zerver_flows::generated::boxed(async move {
                    let __fx = __inside.fx(__n);
                    let __value = #call.await?;
                    __slot.put(__value);
                    ::zerver_flows::Result::Ok(())
                })
            });
            ::zerver_flows::generated::drive_boxed(__inside, __nodes.collect()).await?;
            ::core::result::Result::<_, ::zerver_flows::Exit>::Ok(
                __slots.into_iter().map(::zerver_flows::generated::Slot::#taken).collect::<::std::vec::Vec<_>>(),
            )
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Undo,
    Cleanup,
}

/// The code that runs the steps which lines name for afterwards; none when no line does.
fn afterwards(lines: &[Line], of: impl Fn(&Line) -> Option<&Call>, kind: Kind) -> Option<TokenStream> {
    let arms: Vec<TokenStream> = lines
        .iter()
        .enumerate()
        .filter_map(|(n, line)| {
            let call = of(line)?;
            let reads = reads(lines, &named_in(call, lines));
            let tokens = call.tokens();
            let made = match kind {
                Kind::Undo => {
                    let times = quote!(::zerver_flows::generated::UNDO_RETRIES);
                    quote!(::zerver_flows::generated::retry(&__fx, #times, || #tokens))
                }
                Kind::Cleanup => tokens,
            };
            Some(quote! {
                #n => {
                    #reads
                    ::zerver_flows::generated::boxed(async move {
                        let _ = #made.await?;
                        ::zerver_flows::Result::Ok(())
                    })
                }
            })
        })
        .collect();
    if arms.is_empty() {
        return None;
    }
    let (plan, drive) = match kind {
        Kind::Undo => (quote!(undo(__run, &__ended)), quote!(__after.undo(__run, __nodes).await;)),
        // A cleanup step that fails is noted in the timeline; the answer is the flow's.
        Kind::Cleanup => (quote!(cleanup(__run)), quote!(let _ = __after.drive(__run, __nodes).await;)),
    };
    Some(quote! {
        if let ::core::option::Option::Some(__after) = ::zerver_flows::generated::#plan {
            let __after = &__after;
            let __nodes = __after.steps().map(|(__at, __step)| {
                let __fx = __after.fx(__at);
                match __step {
                    #(#arms)*
                    _ => ::zerver_flows::generated::boxed(async { ::zerver_flows::Result::Ok(()) }),
                }
            });
            let __nodes: ::std::vec::Vec<_> = __nodes.collect();
            #drive
        }
    })
}

/// The code that answers in place of a failure.
fn instead(call: &Call) -> TokenStream {
    let tokens = call.tokens();
    // Under the user's own spelling, so that the call finds it.
    let fail = Ident::new("fail", call.call.paren_token.span.join());
    quote! {
        if let ::core::option::Option::Some(__after) = ::zerver_flows::generated::on_error(__run, &__ended) {
            let __answer = ::zerver_flows::generated::Slot::new();
            let __answered = {
                let (__after, __answer) = (&__after, &__answer);
                let #fail = __after.failure(&__ended);
                let __node = ::zerver_flows::generated::boxed(async move {
                    let __fx = __after.fx(0);
                    let __value = #tokens.await?;
                    __answer.put(__value);
                    ::zerver_flows::Result::Ok(())
                });
                __after.drive(__run, ::std::vec![__node]).await
            };
            match (__answered, __answer.take()) {
                (::core::result::Result::Ok(()), ::core::option::Option::Some(__answer)) => {
                    return ::core::result::Result::Ok(__answer);
                }
                (::core::result::Result::Err(::zerver_flows::Exit::Done(__answer)), _) => {
                    return ::core::result::Result::Err(::zerver_flows::Exit::Done(__answer));
                }
                // It failed too: the first failure is the one that says what is wrong.
                _ => {}
            }
        }
    }
}
