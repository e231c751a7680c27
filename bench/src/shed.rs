//! What refusing a request costs, against serving one (rho): 503 by admission, 429 by a rate limit, 404 without a route.

use std::error::Error;
use std::time::Duration;

use crate::child::Server;
use crate::length::Length;
use crate::load::{self, Tally};
use crate::machine::Watch;
use crate::nginx;
use crate::sample::Sample;
use crate::table::{Row, Table};

/// From here on refusing leaves enough for serving at twice the capacity; see docs/benchmarks.md.
const RHO_MAX: f64 = 0.2;

/// What is asked for: the row, the path, the status that is expected, and whether nginx is asked.
const ASKED: [(&str, &str, u16, bool); 7] = [
    ("zerver: proxied, 200", "/proxied", 200, false),
    ("zerver: refused by admission, 503", "/full/now", 503, false),
    ("zerver: refused by a rate limit, 429", "/limited", 429, false),
    ("zerver: no route, 404", "/nothing", 404, false),
    ("zerver: fixed reply, 200", "/fixed", 200, false),
    ("nginx: proxied, 200", "/proxied", 200, true),
    ("nginx: refused by its page, 503", "/refused", 503, true),
];

pub(crate) fn run(length: Length) -> Result<(), Box<dyn Error>> {
    load::on_one_thread(measure(length))
}

async fn measure(length: Length) -> Result<(), Box<dyn Error>> {
    let (rounds, time) = match length {
        Length::Full => (9, Duration::from_millis(1_000)),
        Length::Quick => (3, Duration::from_millis(400)),
    };
    let origin = Server::own(&["origin"])?;
    let zerver = Server::own(&["gateway", &origin.address.to_string()])?;
    let nginx = nginx::start(origin.address).await?;
    // The one seat of `/full` is taken by a request that is never answered.
    let held = load::hold(zerver.address, "/full/hang", "/full/now", 503).await?;
    let of_nginx = nginx.as_ref().map(|nginx| (nginx.server.address, nginx.server.pid));
    let server = |on_nginx: bool| if on_nginx { of_nginx } else { Some((zerver.address, zerver.pid)) };

    for (_, path, _, on_nginx) in ASKED {
        if let Some((address, pid)) = server(on_nginx) {
            load::slice(address, pid, path, time / 4).await?;
        }
    }
    let pids: Vec<u32> = of_nginx.iter().map(|(_, pid)| *pid).chain([zerver.pid, origin.pid]).collect();
    let watch = Watch::start(&pids);
    let mut tallies: [Vec<Tally>; ASKED.len()] = Default::default();
    for round in 0..rounds {
        for place in 0..ASKED.len() {
            let place = (place + round) % ASKED.len();
            let (_, path, _, on_nginx) = ASKED[place];
            if let Some((address, pid)) = server(on_nginx) {
                tallies[place].push(load::slice(address, pid, path, time).await?);
            }
        }
    }
    let shared = watch.end();
    drop(held);

    let mut table = Table::new("shed");
    let cpu = |place: usize| Sample(tallies[place].iter().map(Tally::cpu_us).collect());
    for (place, (name, _, status, on_nginx)) in ASKED.into_iter().enumerate() {
        if server(on_nginx).is_none() {
            table.add(Row::without(format!("{name}: skipped, there is no nginx")));
            continue;
        }
        table.add(Row::new(format!("{name}: CPU per request"), cpu(place), "us"));
        let served = if on_nginx { 5 } else { 0 };
        if place != served {
            let row = Row::new(format!("{name}: of a proxied one (rho)"), cpu(place).over(&cpu(served)), "x")
                .against("proxied, us", cpu(served).median());
            // nginx is the measure, not the measured; a fixed reply refuses nobody.
            table.add(if on_nginx || status == 200 { row } else { row.at_most(RHO_MAX) });
        }
    }
    let strange: u64 = ASKED
        .iter()
        .zip(&tallies)
        .flat_map(|((_, _, status, _), tallies)| tallies.iter().map(|tally| tally.other_than(*status) + tally.reopened))
        .sum();
    let answers: u64 = tallies.iter().flatten().map(Tally::answers).sum();
    table.add(
        Row::new("answers of another status, or connections lost", strange as f64, "")
            .against("answers", answers as f64)
            .at_most(0.0),
    );
    table.finish(shared)?;
    Ok(())
}
