//! The builder of a gateway binary: your flows, and everything the stock binary has.

use std::process::ExitCode;

use zerver_flows::Flow;

/// A gateway binary in the making. A program that writes flows depends on `zerver` and on `zerver-flows`.
///
/// ```no_run
/// use zerver_flows::{Req, Response, Result, flow, step};
///
/// #[step]
/// async fn greet(req: &Req) -> Result<Response> {
///     Ok(Response::text(format!("hello, {}", req.query("name").unwrap_or("you"))))
/// }
///
/// #[flow("greeting", version = 1, owner = "docs")]
/// async fn greeting(req: &Req) -> Response {
///     greet(req)
/// }
///
/// fn main() -> std::process::ExitCode {
///     zerver::App::new().flow(greeting()).main()
/// }
/// ```
#[derive(Debug, Default)]
#[must_use = "an app does nothing until `main` is called"]
pub struct App {
    flows: Vec<Flow>,
}

impl App {
    /// The stock gateway, without flows of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a flow; routes reach it by its slug: `to: { flow: greeting }`.
    pub fn flow(mut self, flow: Flow) -> Self {
        self.flows.push(flow);
        self
    }

    /// Reads the command line, does what it says, and gives the exit code: 0 done, 1 failed, 2 wrong input.
    #[must_use]
    pub fn main(self) -> ExitCode {
        crate::cli::main(self.flows, std::env::args_os())
    }
}
