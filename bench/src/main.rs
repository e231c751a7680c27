//! The benchmarks: each target prints a table and writes `target/bench/<name>.json`.
//!
//!     zerver-bench all | tracer | flows | proxy | shed   [--quick]

mod length;
mod alloc;
mod machine;
mod sample;
mod table;
mod race;
mod tracer;
mod flows;
mod serve;
mod child;
mod nginx;
mod load;
mod proxy;
mod shed;

use std::error::Error;
use std::process::ExitCode;

use length::Length;

const USAGE: &str = "usage: zerver-bench all | tracer | flows | proxy | shed   [--quick]";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "serve") {
        return end(serve::main(&words[1..]));
    }
    let before = words.len();
    words.retain(|word| word != "--quick");
    let length = if words.len() == before { Length::Full } else { Length::Quick };
    end(match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["all"] => all(length),
        ["tracer"] => tracer::run(length),
        ["flows"] => flows::run(length),
        ["proxy"] => proxy::run(length),
        ["shed"] => shed::run(length),
        _ => Err(USAGE.into()),
    })
}

fn all(length: Length) -> Result<(), Box<dyn Error>> {
    tracer::run(length)?;
    flows::run(length)?;
    proxy::run(length)?;
    shed::run(length)
}

fn end(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::note(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
