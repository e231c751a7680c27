//! The builder of a gateway binary: your flows and steps, and everything the stock binary has.

use std::process::ExitCode;

use zerver_flows::{Exposed, Flow};

use crate::plan::Own;

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
    own: Own,
}

impl App {
    /// The stock gateway, without flows of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a flow; routes reach it by its slug: `to: { flow: greeting }`.
    pub fn flow(mut self, flow: Flow) -> Self {
        self.own.flows.push(flow);
        self
    }

    /// Adds a step that flows of the page may call by its name, made by `#[step(expose)]`:
    /// `.step(load_cart::exposed())`, and in the page `call: load_cart`.
    pub fn step(mut self, step: Exposed) -> Self {
        self.own.steps.push(step);
        self
    }

    /// Reads the command line, does what it says, and gives the exit code: 0 done, 1 failed, 2 wrong input.
    #[must_use]
    pub fn main(self) -> ExitCode {
        crate::cli::main(self.own, std::env::args_os())
    }
}

#[cfg(test)]
mod tests {
    use zerver_flows::{Result, step};

    use super::*;
    use crate::gateway::{Page, check};

    #[step(expose)]
    async fn greet(name: &str) -> Result<String> {
        Ok(format!("hello, {name}"))
    }

    #[test]
    fn a_page_calls_the_steps_of_its_own_binary() {
        let source = "listen: 127.0.0.1:0
flows:
  - flow: greeting
    steps:
      text: { call: greet, args: { name: \"${request.query.name}\" } }
    respond: { text: \"${text}\" }
routes:
  - { name: all, match: { path: '/' }, to: { flow: greeting } }
";
        let page = Page::Text { name: "greet.yaml".into(), source: source.into() };
        let plan = |app: App| check(&page, &app.own, &|_| None).map_err(|rejected| rejected.to_string());
        let mine = plan(App::new().step(greet::exposed())).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(mine.flows["greeting"].flow().graph().nodes()[0].step, "greet");
        let stock = plan(App::new()).err().unwrap_or_default();
        for says in [
            "no step is called `greet`",
            "Rust steps are added to a gateway of your own: zerver::App::new().step(…)",
            "greet.yaml:5:",
        ] {
            assert!(stock.contains(says), "{says}: {stock}");
        }
        let twice = plan(App::new().step(greet::exposed()).step(greet::exposed())).err().unwrap_or_default();
        assert!(twice.contains("two Rust steps are called `greet`"), "{twice}");
    }
}
