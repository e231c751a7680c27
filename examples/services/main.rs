//! Runs the six services at the ports that `examples/checkout/*.yaml` name, until Ctrl-C.

use std::io::Write as _;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let services = zerver_examples::Services::start(9001).await?;
    let mut out = std::io::stdout();
    for (name, address) in services.addresses() {
        writeln!(out, "{name:9} http://{address}")?;
    }
    tokio::signal::ctrl_c().await?;
    services.stop().await;
    Ok(())
}
