//! `#[flow]`: writes a flow's graph, its slots and its node futures from its lines.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{FnArg, ItemFn, LitInt, LitStr, Pat, Path, Result, ReturnType, Token};

use crate::attribute::{Errors, did_you_mean, doc, duration};
use crate::line::{Line, connect, lines};

/// What stands in the parentheses of `#[flow(…)]`.
struct Options {
    slug: LitStr,
    version: Option<LitInt>,
    owner: Option<LitStr>,
    deadline: TokenStream,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if !input.peek(LitStr) {
            return Err(input.error("a flow's name comes first: #[flow(\"checkout\", version = 3)]"));
        }
        let slug = input.parse()?;
        let mut options = Self { slug, version: None, owner: None, deadline: quote!(::core::option::Option::None) };
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            match key.to_string().as_str() {
                "version" => options.version = Some(input.parse()?),
                "owner" => options.owner = Some(input.parse()?),
                "deadline" => options.deadline = duration(&input.parse()?)?,
                other => {
                    let near = did_you_mean(other, &["version", "owner", "deadline"]);
                    return Err(syn::Error::new(key.span(), format!("unknown option `{other}` of #[flow]{near}")));
                }
            }
        }
        Ok(options)
    }
}

/// The rules of `zerver_flows::graph::check_slug`, so that a bad name does not compile.
fn slug_problem(slug: &str) -> Option<&'static str> {
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !(3..=48).contains(&slug.len()) {
        Some("a flow's name has 3 to 48 characters")
    } else if !slug.starts_with(|c: char| c.is_ascii_lowercase()) {
        Some("a flow's name begins with a lower-case letter")
    } else if !slug.split('-').all(word) {
        Some("a flow's name is lower-case words of letters and digits, joined by single hyphens")
    } else if slug.split('-').count() > 6 {
        Some("a flow's name has at most six words")
    } else {
        None
    }
}

/// The one parameter of a flow: its name and type.
fn request(function: &ItemFn, errors: &mut Errors) -> Option<(Ident, syn::Type)> {
    let inputs = &function.sig.inputs;
    match (inputs.first(), inputs.len()) {
        (Some(FnArg::Typed(input)), 1) => match &*input.pat {
            Pat::Ident(pat) => Some((pat.ident.clone(), (*input.ty).clone())),
            other => {
                errors.push(other.span(), "a flow takes the request under a plain name: `req: &Req`");
                None
            }
        },
        _ => {
            errors.push(function.sig.paren_token.span.join(), "a flow takes one parameter, the request: `req: &Req`");
            None
        }
    }
}

pub(crate) fn expand(tokens: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(tokens)?;
    let function: ItemFn = syn::parse2(item)?;
    let mut errors = Errors::default();
    if let Some(problem) = slug_problem(&options.slug.value()) {
        errors.push(options.slug.span(), problem);
    }
    if function.sig.asyncness.is_none() {
        errors.push(function.sig.fn_token.span(), "a flow is written as an `async fn`");
    }
    let answer = match &function.sig.output {
        ReturnType::Type(_, ty) => quote!(#ty),
        ReturnType::Default => {
            errors.push(function.sig.ident.span(), "a flow returns `Response`");
            quote!(())
        }
    };
    let req = request(&function, &mut errors);
    let mut lines = lines(&function, &mut errors);
    connect(&mut lines, req.as_ref().map(|(name, _)| name), &mut errors);
    if lines.len() > 128 {
        errors.push(function.sig.ident.span(), format!("this flow has {} steps; the most is 128", lines.len()));
    }
    errors.finish()?;
    let (req, req_type) = req.expect("without a request the errors above ended this");

    let body = Body::new(&lines);
    let Body { slots, nodes, node_names, last } = body;
    let metas = lines.iter().map(meta);
    let (slug, deadline, text) = (&options.slug, &options.deadline, doc(&function.attrs));
    let version = options.version.as_ref().map_or_else(|| quote!(1), |v| quote!(#v));
    let owner = options
        .owner
        .as_ref()
        .map_or_else(|| quote!(::core::option::Option::None), |o| quote!(::core::option::Option::Some(#o)));
    let (vis, name) = (&function.vis, &function.sig.ident);
    let attrs = &function.attrs;
    let line = quote_spanned!(name.span()=> ::core::line!());
    Ok(quote! {
        #(#attrs)*
        #vis fn #name() -> ::zerver_flows::Flow {
            async fn __body(
                #req: #req_type,
                __run: &::zerver_flows::generated::Run,
            ) -> ::zerver_flows::Result<#answer> {
                // A flow may have no use for its request.
                let _ = &#req;
                #(#slots)*
                {
                    #(#nodes)*
                    ::zerver_flows::generated::drive(__run, &mut [#(#node_names),*]).await?;
                }
                ::core::result::Result::Ok(
                    #last.take().expect("the driver ends well only when every required slot is written"),
                )
            }
            static META: ::zerver_flows::generated::FlowMeta = ::zerver_flows::generated::FlowMeta {
                slug: #slug,
                version: #version,
                owner: #owner,
                deadline: #deadline,
                doc: #text,
                file: ::core::file!(),
                line: #line,
                nodes: &[#(#metas),*],
            };
            ::zerver_flows::Flow::from_macro(&META, |req, run| ::std::boxed::Box::pin(__body(req, run)))
        }
    })
}

fn meta(line: &Line) -> TokenStream {
    let Line { slot, step, optional, timeout, retries, .. } = line;
    let texts = |idents: &[Ident]| idents.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (name, reads, after) = (slot.to_string(), texts(&line.reads), texts(&line.after));
    let conditional = line.when.is_some();
    let at = quote_spanned!(slot.span()=> ::core::line!());
    let step = without_arguments(step);
    quote! {
        ::zerver_flows::generated::NodeMeta {
            name: #name,
            step: #step::META,
            reads: &[#(#reads),*],
            after: &[#(#after),*],
            optional: #optional,
            conditional: #conditional,
            timeout: #timeout,
            retries: #retries,
            line: #at,
        }
    }
}

/// The tokens of a flow's body.
struct Body {
    slots: Vec<TokenStream>,
    nodes: Vec<TokenStream>,
    node_names: Vec<TokenStream>,
    last: Ident,
}

impl Body {
    fn new(lines: &[Line]) -> Self {
        let hidden = |kind: &str, slot: &Ident| format_ident!("__{kind}_{slot}", span = Span::mixed_site());
        let mut body = Self {
            slots: Vec::new(),
            nodes: Vec::new(),
            node_names: Vec::new(),
            last: hidden("slot", &lines[lines.len() - 1].slot),
        };
        for (n, line) in lines.iter().enumerate() {
            let (slot, node) = (hidden("slot", &line.slot), hidden("node", &line.slot));
            let reads = line.reads.iter().map(|read| {
                let from = hidden("slot", read);
                let missing = lines.iter().any(|line| line.slot == *read && line.may_be_missing());
                let get = if missing { quote!(maybe) } else { quote!(get) };
                // Under the name as its writer's line spells it, so that an unused one is not the reader's fault.
                quote!(let #read = #from.#get();)
            });
            let when = line.when.as_ref().map(|when| {
                quote! {
                    let __holds: bool = #when;
                    if !__holds {
                        return ::zerver_flows::Result::Ok(::zerver_flows::generated::Wrote::Nothing);
                    }
                }
            });
            let mut call = call(line);
            if line.retries > 0 {
                let retries = line.retries;
                call = quote!(::zerver_flows::generated::retry(&__fx, #retries, || #call));
            }
            body.slots.push(quote!(let #slot = ::zerver_flows::generated::Slot::new();));
            body.nodes.push(quote! {
                let mut #node = ::core::pin::pin!(::zerver_flows::generated::node(async {
                    let __fx = __run.fx(#n);
                    #(#reads)*
                    #when
                    let __value = #call.await?;
                    #slot.put(__value);
                    ::zerver_flows::Result::Ok(::zerver_flows::generated::Wrote::Slot)
                }));
            });
            let at = line.step.span();
            body.node_names.push(quote_spanned!(at=> #node));
        }
        body
    }
}

/// `step(a, b)` as a call of what `#[step]` put beside the function, with `fx` behind the written arguments.
fn call(line: &Line) -> TokenStream {
    let mut path = line.step.clone();
    let last = path.segments.last_mut().expect("a path has a segment");
    let generics = std::mem::take(&mut last.arguments);
    let method = Ident::new("__step", last.ident.span());
    let generics = match &generics {
        syn::PathArguments::AngleBracketed(arguments) => {
            let arguments = &arguments.args;
            quote!(::<#arguments>)
        }
        _ => quote!(),
    };
    let mut args: Vec<TokenStream> = line.call.args.iter().map(|arg| quote!(#arg)).collect();
    // What the user did not write stands at the closing parenthesis, where rustc points at a missing argument.
    let end = line.call.paren_token.span.close();
    args.push(quote_spanned!(end=> &__fx));
    let (joined, func) = (quote!(#(#args),*), quote!(#path::#method #generics));
    let parens = proc_macro2::Group::new(proc_macro2::Delimiter::Parenthesis, joined);
    let mut parens = parens;
    parens.set_span(line.call.paren_token.span.join());
    quote!(#func #parens)
}

fn without_arguments(path: &Path) -> Path {
    let mut path = path.clone();
    if let Some(last) = path.segments.last_mut() {
        last.arguments = syn::PathArguments::None;
    }
    path
}
