//! Runs the three services at the ports that `examples/checkout/*.yaml` name, until Ctrl-C.

use std::io::Write as _;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let services = zerver_examples::Services::start([9001, 9002, 9003]).await?;
    let mut out = std::io::stdout();
    writeln!(out, "accounts {}, carts {}, prices {}", services.accounts, services.carts, services.prices)?;
    tokio::signal::ctrl_c().await?;
    services.stop().await;
    Ok(())
}
