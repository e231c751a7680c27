//! `#[step(expose)]`: the step as a value that pages call by its name, its arguments taken from JSON.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned;
use syn::{Error, FnArg, GenericArgument, Ident, ItemFn, Pat, PathArguments, ReturnType, Type};

use crate::attribute::Errors;

/// What an exposed step may take.
const TAKES: &str = "an exposed step takes what a page can give: `&T`, `&str`, `&[T]` or `Option<&T>`, where `T` is \
                     owned and `DeserializeOwned`; besides, `req: &Req` and `fx: &Fx<'_>`";

/// A parameter that a page gives.
struct Given {
    /// The type its value is read as, and what of a value is handed on.
    owned: TokenStream,
    borrow: TokenStream,
    kind: &'static str,
}

/// Writes `exposed()`; what is wrong goes to `errors`.
pub(crate) fn expand(function: &ItemFn, errors: &mut Errors) -> TokenStream {
    let sig = &function.sig;
    if !sig.generics.params.is_empty() {
        let why = "an exposed step has no parameters in `<>`: a page cannot choose them";
        errors.add(Error::new_spanned(&sig.generics, why));
    }
    let (mut arguments, mut lets, mut passed) = (Vec::new(), Vec::new(), Vec::new());
    for (n, input) in sig.inputs.iter().enumerate() {
        let FnArg::Typed(input) = input else { continue };
        let ty = &*input.ty;
        if is_fx(ty) {
            passed.push(quote!(__fx));
            continue;
        }
        if reference(ty).and_then(last).is_some_and(|last| last == "Req") {
            passed.push(quote!(__req));
            continue;
        }
        let Pat::Ident(pat) = &*input.pat else {
            let why = "a parameter of an exposed step has a name, which pages give it by";
            errors.add(Error::new_spanned(&input.pat, why));
            continue;
        };
        let (inside, is_optional) = option(ty).map_or((ty, false), |inside| (inside, true));
        let Some(given) = reference(inside).and_then(given) else {
            errors.add(Error::new_spanned(ty, TAKES));
            continue;
        };
        let name = pat.ident.unraw().to_string();
        let local = format_ident!("__argument{n}");
        let Given { owned, borrow, kind } = given;
        let kind = Ident::new(kind, ty.span());
        let whole = if is_optional { quote!(::core::option::Option<#owned>) } else { owned };
        passed.push(match is_optional {
            true => quote!(#local.as_ref().map(|__value| #borrow(__value))),
            false => quote!(#borrow(&#local)),
        });
        lets.push(quote_spanned!(ty.span()=> let #local = __arguments.take::<#whole>(#name)?;));
        arguments.push(quote! {
            ::zerver_flows::Argument {
                name: #name,
                is_optional: #is_optional,
                kind: ::zerver_flows::Kind::#kind,
                refuses: ::zerver_flows::generated::refuses::<#whole>,
            }
        });
    }
    let (vis, name) = (&function.vis, &sig.ident);
    let output = match &sig.output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => name.span(),
    };
    let given = quote_spanned!(output=> ::zerver_flows::generated::given(&__value));
    let doc = format!("Step `{name}` for pages of configuration: `zerver::App::new().step({name}::exposed())`.");
    quote! {
        #[doc = #doc]
        #[must_use]
        #vis fn exposed() -> ::zerver_flows::Exposed {
            #[allow(unused_mut, unused_variables)]
            fn __call<'a>(
                mut __arguments: ::zerver_flows::generated::Arguments,
                __req: &'a ::zerver_flows::Req,
                __fx: &'a ::zerver_flows::Fx<'a>,
            ) -> ::zerver_flows::generated::Called<'a> {
                ::std::boxed::Box::pin(async move {
                    #(#lets)*
                    let __value = #name(#(#passed),*).await?;
                    #given
                })
            }
            ::zerver_flows::Exposed::from_macro(Self::META, const { &[#(#arguments),*] }, __call)
        }
    }
}

/// Whether a type is `&Fx<…>`.
pub(crate) fn is_fx(ty: &Type) -> bool {
    reference(ty).and_then(last).is_some_and(|last| last == "Fx")
}

/// What a plain `&T` refers to.
fn reference(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Reference(reference) if reference.mutability.is_none() => Some(&*reference.elem),
        _ => None,
    }
}

/// The last name of a type's path.
fn last(ty: &Type) -> Option<&Ident> {
    let Type::Path(path) = ty else { return None };
    path.path.segments.last().map(|last| &last.ident)
}

/// What is in `Option<…>`.
fn option(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
    let PathArguments::AngleBracketed(inside) = &last.arguments else { return None };
    match inside.args.first() {
        Some(GenericArgument::Type(inside)) => Some(inside),
        _ => None,
    }
}

/// How what stands behind a `&` is read. The kind is what the type's name says.
fn given(of: &Type) -> Option<Given> {
    let plain = quote!(::core::convert::identity);
    match of {
        Type::Slice(slice) => {
            let item = &slice.elem;
            let owned = quote_spanned!(of.span()=> ::std::vec::Vec<#item>);
            Some(Given { owned, borrow: quote!(::std::vec::Vec::as_slice), kind: "List" })
        }
        Type::Path(_) if last(of).is_some_and(|name| name == "str") => {
            let owned = quote_spanned!(of.span()=> ::std::string::String);
            Some(Given { owned, borrow: quote!(::std::string::String::as_str), kind: "Text" })
        }
        Type::Path(_) | Type::Tuple(_) | Type::Array(_) => {
            let name = last(of).map(ToString::to_string).unwrap_or_default();
            Some(Given { owned: quote!(#of), borrow: plain, kind: kind(&name, of) })
        }
        _ => None,
    }
}

fn kind(name: &str, of: &Type) -> &'static str {
    match name {
        "String" => "Text",
        "bool" => "Bool",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" | "f32" | "f64" => "Number",
        "Vec" | "VecDeque" | "HashSet" | "BTreeSet" => "List",
        "HashMap" | "BTreeMap" => "Mapping",
        _ if matches!(of, Type::Array(_)) => "List",
        _ => "Any",
    }
}
