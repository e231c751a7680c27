//! `#[flow]` and `#[subflow]`: a function whose body is a list of steps becomes a graph and the code that runs it.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{FnArg, ItemFn, LitInt, LitStr, Pat, Result, ReturnType, Token};

use crate::attribute::{Errors, did_you_mean, doc, duration};
use crate::body::body;
use crate::branch::Value;
use crate::call::Call;
use crate::connect::connect;
use crate::line::{Line, lines};

/// What stands in the parentheses of `#[flow(…)]`.
struct Options {
    slug: LitStr,
    version: Option<LitInt>,
    owner: Option<LitStr>,
    deadline: TokenStream,
    optional_within: TokenStream,
    calls_at_once: Option<LitInt>,
    streams_body: bool,
    on_error: Option<Call>,
}

const OPTIONS: [&str; 7] = ["version", "owner", "deadline", "optional_within", "calls_at_once", "body", "on_error"];

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if !input.peek(LitStr) {
            return Err(input.error("a flow's name comes first: #[flow(\"checkout\", version = 3)]"));
        }
        let slug = input.parse()?;
        let none = none();
        let mut options = Self {
            slug,
            version: None,
            owner: None,
            deadline: none.clone(),
            optional_within: none,
            calls_at_once: None,
            streams_body: false,
            on_error: None,
        };
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            match key.to_string().as_str() {
                "version" => options.version = Some(input.parse()?),
                "owner" => options.owner = Some(input.parse()?),
                "deadline" => options.deadline = duration(&input.parse()?)?,
                "optional_within" => options.optional_within = duration(&input.parse()?)?,
                "calls_at_once" => options.calls_at_once = Some(input.parse()?),
                "body" => options.streams_body = streams_body(&input.parse()?)?,
                "on_error" => options.on_error = Some(input.parse()?),
                other => {
                    let near = did_you_mean(other, &OPTIONS);
                    return Err(syn::Error::new(key.span(), format!("unknown option `{other}` of #[flow]{near}")));
                }
            }
        }
        Ok(options)
    }
}

/// `body = "stream"`, or what is so without it.
fn streams_body(word: &LitStr) -> Result<bool> {
    match word.value().as_str() {
        "stream" => Ok(true),
        "whole" => Ok(false),
        _ => Err(syn::Error::new(
            word.span(),
            "a flow's body is \"whole\" (it is read before the flow runs) or \"stream\"",
        )),
    }
}

fn none() -> TokenStream {
    quote!(::core::option::Option::None)
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

/// The lines of a function, and what it gives.
fn declared(function: &ItemFn, given: &[Ident], gives: &str, errors: &mut Errors) -> (Vec<Line>, TokenStream) {
    if function.sig.asyncness.is_none() {
        errors.push(function.sig.fn_token.span(), "a flow is written as an `async fn`");
    }
    let answer = match &function.sig.output {
        ReturnType::Type(_, ty) => quote!(#ty),
        ReturnType::Default => {
            errors.push(function.sig.ident.span(), gives);
            quote!(())
        }
    };
    let mut lines = lines(function, errors);
    connect(&mut lines, given, errors);
    if lines.len() > 128 {
        errors.push(function.sig.ident.span(), format!("this flow has {} steps; the most is 128", lines.len()));
    }
    (lines, answer)
}

pub(crate) fn expand(tokens: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(tokens)?;
    let function: ItemFn = syn::parse2(item)?;
    let mut errors = Errors::default();
    if let Some(problem) = slug_problem(&options.slug.value()) {
        errors.push(options.slug.span(), problem);
    }
    let req = request(&function, &mut errors);
    let given: Vec<Ident> = req.iter().map(|(name, _)| name.clone()).collect();
    let (lines, answer) = declared(&function, &given, "a flow returns `Response`", &mut errors);
    errors.finish()?;
    let (req, req_type) = req.expect("without a request the errors above ended this");

    let body = body(&lines, options.on_error.as_ref());
    let slug = &options.slug;
    let graph = graph(&quote!(#slug), &function, &lines, &options);
    let (vis, name, attrs) = (&function.vis, &function.sig.ident, &function.attrs);
    Ok(quote! {
        #(#attrs)*
        #vis fn #name() -> ::zerver_flows::Flow {
            async fn __body(
                #req: #req_type,
                __run: &::zerver_flows::generated::Run,
            ) -> ::zerver_flows::Result<#answer> {
                // A flow may have no use for its request.
                let _ = &#req;
                #body
            }
            static META: ::zerver_flows::generated::FlowMeta = #graph;
            let size = ::zerver_flows::generated::future_size(__body);
            ::zerver_flows::Flow::from_macro(&META, size, |req, run| ::std::boxed::Box::pin(__body(req, run)))
        }
    })
}

/// The tokens of a flow's `FlowMeta`.
fn graph(slug: &TokenStream, function: &ItemFn, lines: &[Line], options: &Options) -> TokenStream {
    let (deadline, within, text) = (&options.deadline, &options.optional_within, doc(&function.attrs));
    let version = options.version.as_ref().map_or_else(|| quote!(1), |v| quote!(#v));
    let owner = options.owner.as_ref().map_or_else(none, |o| quote!(::core::option::Option::Some(#o)));
    let at_once = options.calls_at_once.as_ref().map_or_else(none, |n| quote!(::core::option::Option::Some(#n)));
    let streams_body = options.streams_body;
    let on_error = some_meta(options.on_error.as_ref());
    let metas = lines.iter().map(meta);
    let line = quote_spanned!(function.sig.ident.span()=> ::core::line!());
    quote! {
        ::zerver_flows::generated::FlowMeta {
            slug: #slug,
            version: #version,
            owner: #owner,
            deadline: #deadline,
            optional_within: #within,
            calls_at_once: #at_once,
            streams_body: #streams_body,
            on_error: #on_error,
            doc: #text,
            file: ::core::file!(),
            line: #line,
            nodes: &[#(#metas),*],
        }
    }
}

fn some_meta(call: Option<&Call>) -> TokenStream {
    call.map_or_else(none, |call| {
        let meta = call.meta();
        quote!(::core::option::Option::Some(#meta))
    })
}

fn meta(line: &Line) -> TokenStream {
    let Line { slot, optional, timeout, retries, idempotent, priority, .. } = line;
    let texts = |idents: &[Ident]| idents.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (name, reads, after) = (slot.to_string(), texts(&line.reads), texts(&line.after));
    let conditional = line.when.is_some();
    let at = quote_spanned!(slot.span()=> ::core::line!());
    let generated = quote!(::zerver_flows::generated);
    let branch = |call: &Call, optional: bool, timeout: &TokenStream| {
        let step = call.meta();
        quote!(#generated::BranchMeta { step: #step, optional: #optional, timeout: #timeout })
    };
    let plain = |word: &str| quote!(#generated::StepMeta::plain(#word));
    let (step, join) = match &line.value {
        Value::Step(call) => (call.meta(), none()),
        Value::Join(join) => {
            let branches = join.branches.iter().map(|b| branch(&b.call, b.optional, &b.timeout));
            let (take, start) = (&join.take, &join.start);
            let join_meta = quote!(#generated::JoinMeta::Branches(
                #generated::Join { take: #take, start: #start }, &[#(#branches),*]
            ));
            (plain(&join.word), quote!(::core::option::Option::Some(#join_meta)))
        }
        Value::Each(each) => {
            let (parallel, most) = (each.parallel, each.most);
            let item = branch(&each.call, each.optional, &none());
            let join_meta = quote!(#generated::JoinMeta::Items(
                #generated::Join { take: #generated::Take::All, start: #generated::Start::AtMost(#parallel) },
                #item,
                #most,
            ));
            (plain("each"), quote!(::core::option::Option::Some(#join_meta)))
        }
    };
    let (undo, cleanup) = (some_meta(line.undo.as_ref()), some_meta(line.cleanup.as_ref()));
    quote! {
        #generated::NodeMeta {
            name: #name,
            step: #step,
            reads: &[#(#reads),*],
            after: &[#(#after),*],
            optional: #optional,
            conditional: #conditional,
            timeout: #timeout,
            retries: #retries,
            idempotent: #idempotent,
            priority: #priority,
            undo: #undo,
            cleanup: #cleanup,
            join: #join,
            line: #at,
        }
    }
}

/// A flow that stands for one step of another: it takes slots and gives a value.
pub(crate) fn expand_inner(tokens: &TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item)?;
    let mut errors = Errors::default();
    if !tokens.is_empty() {
        errors.push(tokens.span(), "#[subflow] takes no options: timeouts and the like stand on the line that uses it");
    }
    let mut given = Vec::new();
    for input in &function.sig.inputs {
        match input {
            FnArg::Typed(input) => match &*input.pat {
                Pat::Ident(pat) => given.push(pat.ident.clone()),
                other => errors.push(other.span(), "a sub-flow's parameter has a plain name: `cart: &Cart`"),
            },
            FnArg::Receiver(this) => errors.push(this.span(), "a sub-flow is a free function; it has no `self`"),
        }
    }
    let (lines, value) = declared(&function, &given, "a sub-flow returns what its slot holds", &mut errors);
    for line in &lines {
        if let Some(call) = line.undo.as_ref().or(line.cleanup.as_ref()) {
            let why = "what a sub-flow did cannot be undone from inside: when a later step of the flow fails, its slots \
                       are gone; put the attribute on the line that uses the sub-flow";
            errors.push(call.step.span(), why);
        }
    }
    errors.finish()?;
    let (vis, name, inputs) = (&function.vis, &function.sig.ident, &function.sig.inputs);
    let (label, text) = (name.to_string(), doc(&function.attrs));
    let options = Options {
        slug: LitStr::new(&label, name.span()),
        version: None,
        owner: None,
        deadline: none(),
        optional_within: none(),
        calls_at_once: None,
        streams_body: false,
        on_error: None,
    };
    let graph = graph(&quote!(#label), &function, &lines, &options);
    let body = body(&lines, None);
    let comma = if inputs.is_empty() || inputs.trailing_punct() { quote!() } else { quote!(,) };
    let method = format_ident!("__step", span = name.span());
    let attrs = &function.attrs;
    Ok(quote! {
        #(#attrs)*
        #[allow(non_camel_case_types, dead_code, unreachable_pub)]
        #vis struct #name {}

        #[allow(dead_code, unreachable_pub, clippy::too_many_arguments, clippy::needless_lifetimes)]
        impl #name {
            const GRAPH: ::zerver_flows::generated::FlowMeta = #graph;
            #[doc(hidden)]
            #vis const META: ::zerver_flows::generated::StepMeta = ::zerver_flows::generated::StepMeta {
                doc: #text,
                inner: ::core::option::Option::Some(&Self::GRAPH),
                ..::zerver_flows::generated::StepMeta::plain(#label)
            };

            #[doc(hidden)]
            #vis fn #method(#inputs #comma __fx: &::zerver_flows::Fx<'_>)
                -> impl ::core::future::Future<Output = ::zerver_flows::Result<#value>> + ::core::marker::Send
            {
                async move {
                    let __inside = __fx.inside_of(&Self::GRAPH);
                    let __run = &__inside;
                    #body
                }
            }
        }
    })
}
