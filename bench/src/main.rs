//! The benchmarks: each target prints a table and writes `target/bench/<name>.json`.
//!
//! ```text
//! zerver-bench all | telemetry | dead | flows | proxy | shed   [--quick] [requests of dead]
//! ```

mod length;
mod alloc;
mod machine;
mod sample;
mod table;
mod race;
mod telemetry;
mod dead;
mod flows;
mod serve;
mod child;
mod nginx;
mod load;
mod proxy;
mod shed;

use std::error::Error;
use std::process::ExitCode;

use zerver_telemetry::recorder::RECORDING;

use length::Length;

const USAGE: &str =
    "usage: zerver-bench all | telemetry | dead | flows | proxy | shed   [--quick] [requests of `dead`]";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "serve") {
        return end(serve::main(&words[1..]));
    }
    if !RECORDING {
        return end(Err("this build does not record: it is there for `proxy` to compare with, by `serve`".into()));
    }
    let before = words.len();
    words.retain(|word| word != "--quick");
    let length = if words.len() == before { Length::Full } else { Length::Quick };
    end(match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["all"] => all(length),
        ["telemetry"] => telemetry::run(length),
        ["dead"] => dead::run(if length == Length::Quick { dead::QUICK } else { dead::REQUESTS }),
        ["dead", requests] => requests.parse().map_err(Into::into).and_then(dead::run),
        ["flows"] => flows::run(length),
        ["proxy"] => proxy::run(length),
        ["shed"] => shed::run(length),
        _ => Err(USAGE.into()),
    })
}

fn all(length: Length) -> Result<(), Box<dyn Error>> {
    telemetry::run(length)?;
    dead::run(if length == Length::Quick { dead::QUICK } else { dead::REQUESTS })?;
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
