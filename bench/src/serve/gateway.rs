//! zerver with its defaults, the page reduced to one route for each way a request can go.

use std::net::SocketAddr;
use std::sync::Arc;

use zerver::gateway::{Gateway, Page, StartError};
use zerver::plan::Own;

pub(super) async fn start(origin: SocketAddr) -> Result<Gateway, StartError> {
    let page = Page::Text { name: "bench".into(), source: page(origin) };
    // No variable of the environment changes what is measured.
    Gateway::start(page, Own::default(), Arc::new(|_| None)).await
}

/// `/proxied` is served by the origin; `/full` by an upstream of one seat and no waiting room; `/limited` lets one request
/// an hour through; `/fixed` is answered by the gateway itself; everything else has no route.
fn page(origin: SocketAddr) -> String {
    format!(
        "listen: 127.0.0.1:0
admin: {{ listen: '127.0.0.1:0' }}
limits: {{ drain_timeout: 1s }}
upstreams:
  origin: {{ peers: ['{origin}'] }}
  full:
    peers: ['{origin}']
    admission: {{ limit: {{ fixed: 1 }}, queue: {{ waiting_max: 0 }} }}
    timeouts: {{ read: 1h }}
rate_limits:
  - {{ name: hourly, requests: 1, window: 1h }}
routes:
  - {{ name: proxied, match: {{ path: /proxied }}, to: {{ upstream: origin }} }}
  - {{ name: full, match: {{ path: '/full/{{*rest}}' }}, to: {{ upstream: full }} }}
  - {{ name: limited, match: {{ path: /limited }}, to: {{ upstream: origin }}, rate_limit: [hourly] }}
  - {{ name: fixed, match: {{ path: /fixed }}, to: {{ reply: {{ body: ok }} }} }}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_right() {
        let page = Page::Text { name: "bench".into(), source: page(SocketAddr::from(([127, 0, 0, 1], 1))) };
        zerver::gateway::check(&page, &Own::default(), &|_| None).expect("nothing is wrong with it");
    }
}
