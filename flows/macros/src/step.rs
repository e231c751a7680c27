//! `#[step]`: keeps the function, and puts beside it, in the type namespace, what flows call and know of it.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, LitStr, Pat, Result, ReturnType, Token, parenthesized};

use crate::attribute::{Errors, did_you_mean, doc, duration};
use crate::expose::{self, is_fx};

/// What stands in the parentheses of `#[step(…)]`.
struct Options {
    timeout: TokenStream,
    targets: Vec<LitStr>,
    idempotent: bool,
    /// Pages may call it.
    expose: bool,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let timeout = quote!(::core::option::Option::None);
        let mut options = Self { timeout, targets: Vec::new(), idempotent: false, expose: false };
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            match key.to_string().as_str() {
                "timeout" => {
                    input.parse::<Token![=]>()?;
                    options.timeout = duration(&input.parse()?)?;
                }
                "idempotent" => options.idempotent = true,
                "expose" => options.expose = true,
                "targets" => {
                    let list;
                    parenthesized!(list in input);
                    options.targets.extend(Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?);
                }
                other => {
                    let near = did_you_mean(other, &["timeout", "targets", "idempotent", "expose"]);
                    return Err(Error::new(key.span(), format!("unknown option `{other}` of #[step]{near}")));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

pub(crate) fn expand(tokens: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item)?;
    let options: Options = syn::parse2(tokens)?;
    let sig = &function.sig;
    let name = &sig.ident;
    let mut errors = Errors::default();
    if sig.asyncness.is_none() {
        errors.push(sig.fn_token.span(), "a step is an `async fn`");
    }
    let output = match &sig.output {
        ReturnType::Type(_, ty) => quote!(#ty),
        ReturnType::Default => {
            errors.push(name.span(), "a step returns `Result<T>`, where `T` is what its slot holds");
            quote!(())
        }
    };
    let mut params = Vec::new();
    let mut names = Vec::new();
    let mut takes_fx = false;
    let last = sig.inputs.len().saturating_sub(1);
    for (n, input) in sig.inputs.iter().enumerate() {
        let FnArg::Typed(input) = input else {
            errors.push(input.span(), "a step is a free function; it has no `self`");
            continue;
        };
        let ty = &input.ty;
        let ident = match &*input.pat {
            Pat::Ident(pat) => pat.ident.clone(),
            _ => format_ident!("input{}", n + 1),
        };
        if is_fx(ty) {
            takes_fx = true;
            if n != last {
                errors.push(input.span(), "`fx` is a step's last parameter");
            }
        }
        params.push(quote!(#ident: #ty));
        names.push(ident);
    }
    let exposed = options.expose.then(|| expose::expand(&function, &mut errors));
    errors.finish()?;

    let (vis, generics) = (&function.vis, &sig.generics);
    let (_, _, clause) = generics.split_for_impl();
    let Options { timeout, targets, idempotent, .. } = options;
    let text = doc(&function.attrs);
    let label = name.to_string();
    // Without `fx` of its own, the function flows call takes and drops it: no lifetime is added to its signature.
    let hidden = if takes_fx { quote!() } else { quote!(_: impl ::core::marker::Sized) };
    let comma = if takes_fx || params.is_empty() { quote!() } else { quote!(,) };
    let call = quote!(#name(#(#names),*));
    let hint = quote_spanned!(name.span()=> ::core::marker::Send);
    let method = format_ident!("__step", span = name.span());
    Ok(quote! {
        #function

        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code, unreachable_pub)]
        #vis struct #name {}

        #[allow(dead_code, unreachable_pub, clippy::too_many_arguments, clippy::needless_lifetimes)]
        impl #name {
            #[doc(hidden)]
            #vis const META: ::zerver_flows::generated::StepMeta = ::zerver_flows::generated::StepMeta {
                name: #label,
                doc: #text,
                timeout: #timeout,
                idempotent: #idempotent,
                targets: &[#(#targets),*],
                inner: ::core::option::Option::None,
            };

            #[doc(hidden)]
            #vis fn #method #generics (#(#params),* #comma #hidden)
                -> impl ::core::future::Future<Output = #output> + #hint
            #clause
            {
                #call
            }

            #exposed
        }
    })
}
