//! A gateway of your own: the stock binary with one more flow, written in Rust.

mod flow;
#[cfg(test)]
mod tests;

fn main() -> std::process::ExitCode {
    zerver::App::new().flow(flow::checkout()).main()
}
