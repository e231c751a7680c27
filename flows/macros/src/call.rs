//! A call of a step as it stands in a flow, and the tokens that make it.

use proc_macro2::{Delimiter, Group, Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Expr, ExprCall, Path, PathArguments, Result};

/// `step(a, b)`.
pub(crate) struct Call {
    pub(crate) step: Path,
    pub(crate) call: ExprCall,
}

impl Call {
    /// The call that an expression is, or what to write instead.
    pub(crate) fn of(value: &Expr) -> Result<Self> {
        if let Expr::Call(call) = value
            && let Expr::Path(path) = &*call.func
        {
            return Ok(Self { step: path.path.clone(), call: call.clone() });
        }
        let hint = match value {
            Expr::Await(_) => "a flow declares, it does not run: leave `.await` out",
            Expr::Try(_) => "a flow declares, it does not run: leave `?` out; a step that fails ends the flow",
            _ => "a flow's line is `let slot = step(slots…);`; put other code into a step",
        };
        Err(syn::Error::new(value.span(), hint))
    }

    /// The step's constant of what is known of it.
    pub(crate) fn meta(&self) -> TokenStream {
        let mut path = self.step.clone();
        if let Some(last) = path.segments.last_mut() {
            last.arguments = PathArguments::None;
        }
        quote!(#path::META)
    }

    /// The call of what `#[step]` put beside the function, with `fx` behind the written arguments.
    pub(crate) fn tokens(&self) -> TokenStream {
        let mut path = self.step.clone();
        let last = path.segments.last_mut().expect("a path has a segment");
        let generics = std::mem::take(&mut last.arguments);
        let method = Ident::new("__step", last.ident.span());
        let generics = match &generics {
            PathArguments::AngleBracketed(arguments) => {
                let arguments = &arguments.args;
                quote!(::<#arguments>)
            }
            _ => quote!(),
        };
        let mut args: Vec<TokenStream> = self.call.args.iter().map(|arg| quote!(#arg)).collect();
        // What the user did not write stands at the closing parenthesis, where rustc points at a missing argument.
        let end = self.call.paren_token.span.close();
        args.push(quote_spanned!(end=> &__fx));
        let mut parens = Group::new(Delimiter::Parenthesis, quote!(#(#args),*));
        parens.set_span(self.call.paren_token.span.join());
        quote!(#path::#method #generics #parens)
    }
}

impl Parse for Call {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        Self::of(&input.parse()?)
    }
}
