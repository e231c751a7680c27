//! The attributes `#[step]` and `#[flow]` of zerver, documented where `zerver_flows` exports them.

use proc_macro::TokenStream;

mod attribute;
mod call;
mod branch;
mod line;
mod connect;
mod body;
mod flow;
mod expose;
mod step;

/// Makes an `async fn(&slots…, [fx: &Fx<'_>]) -> Result<T>` a step that flows can use. The function stays callable as
/// it is, in unit tests too.
///
/// Options: `timeout = "300ms"` (the most time from ready to end), `targets("cart", "pay")` (what it calls, for the
/// graph and for checks at start), `idempotent` (what it changes may be changed twice, so that a retry may follow a call
/// that perhaps arrived), `expose` (pages of configuration may call it: beside the function there is
/// `load_cart::exposed()`, for `zerver::App::new().step(…)`; its inputs are `&T`, `&str`, `&[T]` or `Option<&T>` of what
/// serde reads, its value is what serde writes).
#[proc_macro_attribute]
pub fn step(options: TokenStream, item: TokenStream) -> TokenStream {
    step::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a list of `let slot = step(…);` lines and one final step a [`Flow`](../zerver_flows/struct.Flow.html): the
/// function then takes nothing and returns the flow.
///
/// Options: the flow's name first, then `version = 3`, `owner = "team"`, `deadline = "2s"`, `optional_within = "300ms"`
/// (how long optional steps are waited for), `calls_at_once = 8` (calls of one run in the air at once, 32 without), `on_error = sorry(req, fail)` (a step that answers when the flow has failed;
/// `fail` is the failure).
///
/// Attributes of a line:
///
/// | | |
/// |---|---|
/// | `#[optional]` | the flow goes on when the step fails; readers see an option |
/// | `#[when(expression)]` | the step runs only when this holds; readers see an option |
/// | `#[after(slot, …)]` | it starts when these have ended, without reading them |
/// | `#[timeout("300ms")]` | the most time from ready to end |
/// | `#[retry(2)]` | it is tried again, so often, when another try may help |
/// | `#[idempotent]` | its writes may be made twice, so that they may be tried again |
/// | `#[fallback(step(slots…))]` | what to run when it fails |
/// | `#[compensate(step(slots…))]` | what undoes it when a later step fails |
/// | `#[cleanup(step(slots…))]` | what runs after the flow, whether it failed or not, if this step was done |
/// | `#[sensitive]` | what it gives is never shown, not even to who asks for a request's values |
/// | `#[priority(batch)]` | who goes first at a target without room for all: `interactive`, `batch`, `critical` |
///
/// In the place of a step a line may have a join of steps, `all!(a(x), optional b(x))`, `all_required!`, `race!`,
/// `first_ok!` (also `any!`), `quorum!(2: …)`, `hedge!(after 80ms: …)`, `hedge!(after p95 or 80ms: …)`, each also with
/// `sequential:` or `at_most 2:` before its branches (a hedge has its own order), or a loop,
/// `each!(item in &cart.items, max 20, parallel 5: price_of(item))`.
#[proc_macro_attribute]
pub fn flow(options: TokenStream, item: TokenStream) -> TokenStream {
    flow::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a list of lines, as `#[flow]` takes them, a step of other flows: it takes slots and gives the last line's value.
/// Its steps have names of their own below the line that uses it, in timelines and journals.
#[proc_macro_attribute]
pub fn subflow(options: TokenStream, item: TokenStream) -> TokenStream {
    flow::expand_inner(&options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
