//! Scratch memory in a step's hands.

use super::Fx;
use crate::arena::Scratch;

impl<'r> Fx<'r> {
    /// Scratch memory that lives as long as the flow's run: slots may borrow from it. How much a request took stands in its
    /// timeline (`zerver.flow.scratch_bytes`) and in `zerver_flow_scratch_peak_bytes`.
    ///
    /// ```
    /// use zerver_flows::{Fx, Req, Response, Result, fake::Fake, flow, step};
    ///
    /// #[step]
    /// async fn key<'r>(req: &Req, fx: &Fx<'r>) -> Result<&'r str> {
    ///     fx.scratch().format(format_args!("cart:{}", req.query("id").unwrap_or("none")))
    /// }
    /// #[step]
    /// async fn respond(key: &str) -> Result<Response> {
    ///     Ok(Response::text(key))
    /// }
    /// #[flow("scratch-key")]
    /// async fn keyed(req: &Req) -> Response {
    ///     let key = key(req);
    ///     respond(key)
    /// }
    /// assert_eq!(Fake::new().run(&keyed(), Req::get("/?id=7")).text(), "cart:7");
    /// ```
    #[must_use]
    pub fn scratch(&self) -> Scratch<'r> {
        Scratch(&self.run.shared.arena)
    }
}
