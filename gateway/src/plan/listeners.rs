//! Checks of what a page says on its own: addresses to listen on, addresses of peers, the admin token.

use std::net::SocketAddr;

use crate::config::document::{self, Document};
use crate::config::placed::Placed;
use crate::config::problem::Problem;

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
}
