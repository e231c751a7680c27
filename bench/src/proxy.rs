//! What proxying a request costs: zerver with and without its recorder, bare pingora and nginx, under one load, in turn.

use std::error::Error;
use std::time::Duration;

use crate::child::Server;
use crate::length::Length;
use crate::load::{self, CONNECTIONS, Tally};
use crate::machine::Watch;
use crate::nginx;
use crate::sample::Sample;
use crate::table::{Row, Table};

const PATH: &str = "/proxied";

/// This program, built with the feature `unrecorded`.
const UNRECORDED: &str = "zerver-bench-unrecorded";

pub(crate) fn run(length: Length) -> Result<(), Box<dyn Error>> {
    load::on_one_thread(measure(length))
}

async fn measure(length: Length) -> Result<(), Box<dyn Error>> {
    // Many short slices: what one change costs is a small part, and neighbours in time share what disturbs the machine.
    let (rounds, time) = match length {
        Length::Full => (48, Duration::from_millis(300)),
        Length::Quick => (3, Duration::from_millis(400)),
    };
    let origin = Server::own(&["origin"])?;
    let behind = origin.address.to_string();
    let mut zerver = Server::own(&["gateway", &behind])?;
    let mut bare = Server::own(&["bare", &behind])?;
    let nginx = nginx::start(origin.address).await?;
    let mut unrecorded = unrecorded(&behind)?;
    let mut contenders = vec![(zerver.address, zerver.pid), (bare.address, bare.pid)];
    let mut names = vec!["zerver", "bare pingora"];
    let nginx_place = nginx.is_some().then_some(contenders.len());
    contenders.extend(nginx.iter().map(|nginx| (nginx.server.address, nginx.server.pid)));
    names.extend(nginx.iter().map(|_| "nginx"));
    let unrecorded_place = unrecorded.is_some().then_some(contenders.len());
    contenders.extend(unrecorded.iter().map(|server| (server.address, server.pid)));
    names.extend(unrecorded.iter().map(|_| "zerver, recorder compiled out"));
    let pids: Vec<u32> = contenders.iter().map(|(_, pid)| *pid).chain([origin.pid]).collect();

    // Pools, caches and the adaptive limit find their size.
    for (address, pid) in &contenders {
        load::slice(*address, *pid, PATH, time).await?;
    }
    let watch = Watch::start(&pids);
    let mut tallies: Vec<Vec<Tally>> = vec![Vec::new(); contenders.len()];
    for round in 0..rounds {
        for place in 0..contenders.len() {
            // Each round begins with another one.
            let place = (place + round) % contenders.len();
            let (address, pid) = contenders[place];
            tallies[place].push(load::slice(address, pid, PATH, time).await?);
        }
    }
    let shared = watch.end();

    let mut table = Table::new("proxy");
    let cpu = |tallies: &[Tally]| Sample(tallies.iter().map(Tally::cpu_us).collect());
    let (own, pingora) = (cpu(&tallies[0]), cpu(&tallies[1]));
    for (name, tallies) in names.iter().zip(&tallies) {
        table.add(Row::new(format!("{name}: CPU per proxied request"), cpu(tallies), "us"));
    }
    table.add(
        Row::new("zerver / bare pingora, CPU per request", own.over(&pingora), "x")
            .against("bare pingora, us", pingora.median()),
    );
    match nginx_place.map(|place| &tallies[place]) {
        Some(tallies) => {
            let nginx = cpu(tallies);
            let row = Row::new("zerver / nginx, CPU per request", own.over(&nginx), "x");
            table.add(row.against("nginx, us", nginx.median()));
            let row = Row::new("bare pingora / nginx, CPU per request", pingora.over(&nginx), "x");
            table.add(row.against("nginx, us", nginx.median()));
        }
        None => table.add(Row::without("nginx: skipped, there is none (ZERVER_TEST_NGINX names one)")),
    }
    let collector = |tally: &Tally| tally.collector.as_secs_f64() / tally.cpu.as_secs_f64();
    table.add(Row::new(
        "zerver: part of its CPU on the collector's thread",
        Sample(tallies[0].iter().map(collector).collect()),
        "part",
    ));
    match unrecorded_place.map(|place| cpu(&tallies[place])) {
        Some(without) => {
            let added = own.with(&without, |with, without| 100.0 * (with / without - 1.0));
            table.add(
                Row::new("zerver: what recording adds to the CPU per request", added, "%")
                    .against("compiled out, us", without.median())
                    .at_most(3.0),
            );
            let added = own.with(&without, |with, without| with - without);
            table.add(Row::new("zerver: what recording adds, all threads", added, "us"));
            let collector = Sample(tallies[0].iter().map(|it| it.collector.as_secs_f64() * 1e6).collect());
            let answers = Sample(tallies[0].iter().map(|it| it.answers() as f64).collect());
            let foreground = own.with(&collector.over(&answers), |own, collector| own - collector);
            let added = foreground.with(&without, |with, without| 100.0 * (with / without - 1.0));
            table.add(Row::new("zerver: what recording adds to the threads that serve", added, "%"));
        }
        None => table.add(Row::without(format!(
            "zerver, recorder compiled out: skipped, there is no {UNRECORDED} beside this program (`make bench-proxy` builds it)"
        ))),
    }
    let servers = [("zerver", Some(&mut zerver)), ("bare pingora", Some(&mut bare))];
    let without = ("zerver, recorder compiled out", unrecorded.as_mut());
    for (name, server) in servers.into_iter().chain([without]).filter_map(|(name, server)| Some((name, server?))) {
        server.start_counting()?;
        let answers = load::slice(server.address, server.pid, PATH, time).await?.answers() + CONNECTIONS as u64;
        if let Some((calls, bytes)) = server.stop_counting()? {
            table.add(Row::new(format!("{name}: allocations per request"), calls / answers as f64, ""));
            table.add(Row::new(format!("{name}: bytes allocated per request"), bytes / answers as f64, "B"));
        }
    }
    sound(&mut table, &names, &tallies);
    table.finish(shared)?;
    Ok(())
}

/// The same program without its recorder, where it was built beside this one.
fn unrecorded(origin: &str) -> Result<Option<Server>, Box<dyn Error>> {
    let program = std::env::current_exe()?.with_file_name(UNRECORDED);
    program.exists().then(|| Server::of(&program, &["unrecorded", origin])).transpose()
}

/// That each answered what was asked, and kept its connections: without that the figures above mean nothing.
fn sound(table: &mut Table, names: &[&str], tallies: &[Vec<Tally>]) {
    for (name, tallies) in names.iter().zip(tallies) {
        let answers: u64 = tallies.iter().map(Tally::answers).sum();
        let strange: u64 = tallies.iter().map(|tally| tally.other_than(200) + tally.reopened).sum();
        table.add(
            Row::new(format!("{name}: answers that were not 200, or connections lost"), strange as f64, "")
                .against("answers", answers as f64)
                .at_most(0.0),
        );
    }
}
