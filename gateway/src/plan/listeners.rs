//! Checks of what a page says on its own: addresses to listen on, addresses of peers, breakers, the admin token.

use std::net::SocketAddr;
use std::time::Duration;

use zerver_telemetry::export::otlp::Exporter;

use crate::config::document::{self, Document};
use crate::config::placed::Placed;
use crate::config::problem::{Place, Problem};
use crate::upstream::breaker;

pub(super) fn check_listeners(document: &Document, problems: &mut Vec<Problem>) {
    for listen in [&document.listen, &document.admin.listen] {
        if listen.parse::<SocketAddr>().is_err() {
            problems.push(
                Problem::at(listen.place(), format!("`{}` is no address to listen on", **listen))
                    .help("write an IP address and a port, such as `127.0.0.1:8080` or `[::1]:8080`"),
            );
        }
    }
    let admin = &document.admin;
    let remote = admin.listen.parse::<SocketAddr>().is_ok_and(|at| !at.ip().is_loopback());
    if remote && admin.token.is_none() {
        problems.push(
            Problem::at(admin.listen.place(), "the admin listener is reachable from other machines but has no token")
                .help("listen on `127.0.0.1`, or set `admin.token`"),
        );
    }
}

pub(super) fn check_otlp(document: &Document, problems: &mut Vec<Problem>) {
    let otlp = &document.telemetry.otlp;
    let mut unfit = false;
    for endpoint in otlp.endpoints() {
        let url = endpoint.parse::<http::Uri>().ok();
        let scheme = url.as_ref().and_then(http::Uri::scheme_str);
        // gRPC knows targets without a scheme; what is wrong with those the exporter says.
        if url.is_none() || scheme.is_some_and(|scheme| scheme != "http" && scheme != "https") {
            unfit = true;
            problems.push(
                Problem::at(endpoint.place(), format!("`{}` is no address that telemetry can be sent to", **endpoint))
                    .help("write `http://host:4318`, or `https://host:4318`"),
            );
        }
    }
    if !unfit && let Err(error) = Exporter::check(&otlp.settings()) {
        problems.push(Problem::whole(error.to_string()).help("see `telemetry.otlp` and the `OTEL_*` variables"));
    }
    let sample = otlp.sample;
    if !(0.0..=1.0).contains(&sample) {
        problems.push(
            Problem::whole(format!("`telemetry.otlp.sample` is {sample}; a share lies between 0 and 1"))
                .help("0.05 sends the spans of one ordinary request in twenty"),
        );
    }
}

pub(super) fn check_upstream(name: &str, settings: &Placed<document::Upstream>, problems: &mut Vec<Problem>) {
    if settings.peers.is_empty() {
        problems.push(
            Problem::at(settings.place(), format!("upstream `{name}` has no peers"))
                .help("give at least one address: `peers: [127.0.0.1:8081]`"),
        );
    }
    for peer in &settings.peers {
        let port = peer.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        if port.is_none_or(|(host, port)| host.is_empty() || port == 0 || host.contains('/')) {
            problems.push(
                Problem::at(peer.place(), format!("`{}` is no address of a peer", **peer))
                    .help("write host and port, such as `127.0.0.1:8081` or `carts.internal:80`, without a scheme"),
            );
        }
    }
    if settings.tries == 0 {
        problems.push(
            Problem::at(settings.place(), format!("upstream `{name}`: `tries` is 0, so no request would be sent"))
                .help("1 sends each request once, 2 tries a failed one again"),
        );
    }
    if let Some(breaker) = &settings.breaker {
        check_breaker(name, breaker, settings.place(), problems);
    }
}

fn check_breaker(name: &str, breaker: &breaker::Settings, place: Place, problems: &mut Vec<Problem>) {
    let breaker::Settings { failures, min, open, probes, statuses } = breaker;
    let mut wrong = |what: String, help: &str| {
        problems.push(Problem::at(place, format!("upstream `{name}`: `breaker.{what}")).help(help));
    };
    if !(*failures > 0.0 && *failures <= 1.0) {
        wrong(format!("failures` is {failures}; a share lies above 0 and is at most 1"), "0.5 opens it when half fail");
    }
    if *min == 0 || *probes == 0 {
        let key = if *min == 0 { "min" } else { "probes" };
        wrong(format!("{key}` is 0; it counts at least one try"), "leave it out for the default");
    }
    if !(Duration::from_millis(1)..=breaker::OPEN_MAX).contains(open) {
        wrong("open` does not lie between 1ms and 60s".to_owned(), "5s is the default; it doubles up to 60s by itself");
    }
    if let Some(status) = statuses.iter().find(|status| !(400..=599).contains(*status)) {
        wrong(format!("statuses` holds {status}, which is no failure"), "name statuses from 400 to 599");
    }
}
