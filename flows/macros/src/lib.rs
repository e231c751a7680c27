//! The attributes `#[step]` and `#[flow]` of zerver, documented where `zerver_flows` exports them.

use proc_macro::TokenStream;

mod attribute;
mod line;
mod flow;
mod step;

/// Makes an `async fn(&slots…, [fx: &Fx<'_>]) -> Result<T>` a step that flows can use. The function stays callable as
/// it is, in unit tests too.
///
/// Options: `timeout = "300ms"` (the most time from ready to end), `targets("cart", "pay")` (what it calls, for the
/// graph and for checks at start).
#[proc_macro_attribute]
pub fn step(options: TokenStream, item: TokenStream) -> TokenStream {
    step::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a list of `let slot = step(…);` lines and one final step a [`Flow`](../zerver_flows/struct.Flow.html): the
/// function then takes nothing and returns the flow.
///
/// Options: the flow's name first, then `version = 3`, `owner = "team"`, `deadline = "2s"`.
///
/// Attributes of a line: `#[optional]`, `#[timeout("300ms")]`, `#[retry(2)]`, `#[when(expression)]`, `#[after(slot, …)]`.
#[proc_macro_attribute]
pub fn flow(options: TokenStream, item: TokenStream) -> TokenStream {
    flow::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
