//! The built binary from the outside: tests start `zerver`, talk to it over sockets, and read what it shows. Only what
//! needs flows in Rust (`streaming`, `uploads`, `stuck`) starts a gateway in its own process.

#[path = "e2e/support.rs"]
mod support;
#[path = "e2e/binary.rs"]
mod binary;
#[path = "e2e/client.rs"]
mod client;
#[path = "e2e/origin.rs"]
mod origin;

#[path = "e2e/demo.rs"]
mod demo;
#[path = "e2e/proxy.rs"]
mod proxy;
#[path = "e2e/leaving.rs"]
mod leaving;
#[path = "e2e/streaming.rs"]
mod streaming;
#[path = "e2e/uploads.rs"]
mod uploads;
#[path = "e2e/stuck.rs"]
mod stuck;
#[path = "e2e/checkout.rs"]
mod checkout;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/breaker.rs"]
mod breaker;
#[path = "e2e/timelines.rs"]
mod timelines;
#[path = "e2e/propagation.rs"]
mod propagation;
#[path = "e2e/otlp_collector.rs"]
mod otlp_collector;
#[path = "e2e/otlp.rs"]
mod otlp;
#[path = "e2e/otlp_ways.rs"]
mod otlp_ways;
#[path = "e2e/otlp_faults.rs"]
mod otlp_faults;
#[path = "e2e/dashboards.rs"]
mod dashboards;
#[path = "e2e/looking.rs"]
mod looking;
#[path = "e2e/capture.rs"]
mod capture;
#[path = "e2e/seeing.rs"]
mod seeing;
#[path = "e2e/asking.rs"]
mod asking;
#[path = "e2e/check.rs"]
mod check;
#[path = "e2e/reload.rs"]
mod reload;
#[path = "e2e/settings.rs"]
mod settings;
#[path = "e2e/logs.rs"]
mod logs;
#[path = "e2e/redaction.rs"]
mod redaction;
