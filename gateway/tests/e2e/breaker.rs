//! An upstream that fails is left alone: its breaker opens, nothing reaches it, and probes close it when it is back.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use zerver_telemetry::event::{NodeKind, Outcome};
use zerver_telemetry::timeline::{Timeline, Value};

use crate::binary::{Gateway, HEAD};
use crate::client::{Answer, Client, ask};
use crate::origin::{Origin, answer};
use crate::support::eventually;

/// An origin that answers with a status of the test's choice.
async fn origin(status: u16) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let shared = Arc::clone(&status);
    let origin = Origin::start(move |_| {
        let status = shared.load(SeqCst);
        async move { answer(status, "said") }
    })
    .await;
    (origin, status)
}

/// A proxy route and a flow to one upstream with this breaker; a second flow for which its answer is optional.
async fn gateway(origin: SocketAddr, breaker: &str) -> Gateway {
    Gateway::start(&format!(
        "{HEAD}upstreams: {{ web: {{ peers: ['{origin}'], tries: 1, breaker: {breaker} }} }}
flows:
  - flow: ask
    steps: {{ said: {{ get: 'web:/flow' }} }}
    respond: {{ text: '${{said}}' }}
  - flow: try
    steps: {{ said: {{ get: 'web:/flow', optional: true, retry: 2 }} }}
    respond: {{ text: \"${{said.orValue('without it')}}\" }}
routes:
  - {{ name: web, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: web }} }}
  - {{ name: ask, match: {{ path: /ask }}, to: {{ flow: ask }} }}
  - {{ name: try, match: {{ path: /try }}, to: {{ flow: try }} }}
"
    ))
    .await
}

fn seconds(refused: &Answer) -> u32 {
    assert_eq!((refused.status, refused.header("zerver-reason")), (503, "breaker_open"), "{refused:?}");
    refused.header("retry-after").parse().expect("whole seconds")
}

fn breaker(timeline: &Timeline, node: usize) -> Option<&Value> {
    timeline.nodes[node].attr("zerver.breaker.decision")
}

#[tokio::test]
async fn while_it_is_open_nothing_reaches_the_upstream() {
    let (origin, _) = origin(503).await;
    let gateway = gateway(origin.address, "{ min: 6, open: 30s }").await;
    let client = Client::http1();
    let get = async |path: &str| client.get(gateway.address, path).await;
    // Requests and calls count together. What fails is passed on until it opens.
    for path in ["/a", "/ask", "/b", "/c", "/ask", "/d"] {
        let failed = get(path).await;
        assert_ne!(failed.header("zerver-reason"), "breaker_open", "{path}: {failed:?}");
    }
    assert_eq!(origin.seen().len(), 6);

    let refused = get("/e").await;
    assert!((24..=36).contains(&seconds(&refused)), "{refused:?}");
    assert_eq!(refused.json()["detail"], "the upstream fails and is left alone for now");
    let timeline = gateway.timeline_of(&refused).await;
    assert_eq!((timeline.outcome, timeline.error.as_deref()), (Outcome::Refused, Some("breaker_open")));
    assert_eq!(breaker(&timeline, 0), Some(&Value::Text("open".into())));

    // A flow sees it as the refusal it is: it ends with it, or does without.
    let refused = get("/ask").await;
    assert!((24..=36).contains(&seconds(&refused)), "{refused:?}");
    let timeline = gateway.timeline_of(&refused).await;
    let effects: Vec<usize> =
        (0..timeline.nodes.len()).filter(|n| timeline.nodes[*n].kind == NodeKind::Effect).collect();
    assert_eq!((timeline.outcome, effects.len()), (Outcome::Refused, 1));
    assert_eq!(breaker(&timeline, effects[0]), Some(&Value::Text("open".into())));
    let without = get("/try").await;
    assert_eq!((without.status, without.text().as_str()), (200, "without it"));
    let timeline = gateway.timeline_of(&without).await;
    let calls = timeline.nodes.iter().filter(|node| node.kind == NodeKind::Effect).count();
    assert_eq!(calls, 1, "what is refused is not tried again");
    assert_eq!(origin.seen().len(), 6, "nothing reached it");

    let state = &gateway.ask("/upstreams").await.json()[0]["breaker"];
    assert_eq!(
        (&state["state"], &state["trips_total"], &state["refused_total"]),
        (&"open".into(), &1.into(), &3.into())
    );
    let metric = async |name: &str| gateway.metric(name, &["upstream=\"web\""]).await as u32;
    assert_eq!((metric("zerver_breaker_state").await, metric("zerver_breaker_trips_total").await), (2, 1));
    assert_eq!(metric("zerver_breaker_refused_total").await, 3);
    let refused = gateway.metric("zerver_refused_total", &["reason=\"breaker_open\""]).await;
    assert_eq!(refused as u32, 2);
    assert!(gateway.log().contains("the circuit breaker opens"), "{}", gateway.log());
}

#[tokio::test]
async fn probes_keep_it_open_and_close_it_when_the_upstream_is_back() {
    let (origin, status) = origin(502).await;
    let gateway = gateway(origin.address, "{ min: 4, open: 1s, probes: 2 }").await;
    let client = Client::http1();
    let get = async || client.get(gateway.address, "/").await;
    let state = async || gateway.ask("/upstreams").await.json()[0]["breaker"].clone();
    for _ in 0..4 {
        assert_eq!(get().await.status, 502);
    }
    assert!((1..=2).contains(&seconds(&get().await)), "a second and a fifth either way, rounded up");

    // One probe reaches it, fails, and is the only one.
    let probe = eventually("a probe passes", async || Some(get().await).filter(|a| a.status == 502)).await;
    assert_eq!((origin.seen().len(), &state().await["trips_total"]), (5, &2.into()));
    let timeline = gateway.timeline_of(&probe).await;
    let effect = timeline.nodes.iter().position(|node| node.kind == NodeKind::Effect).expect("there was a try");
    assert_eq!(breaker(&timeline, effect), Some(&Value::Text("probe".into())));

    status.store(200, SeqCst);
    eventually("the next probe passes", async || (get().await.status == 200).then_some(())).await;
    assert_eq!((&state().await["state"], origin.seen().len()), (&"half_open".into(), 6));
    assert_eq!(get().await.status, 200);
    assert_eq!(state().await["state"], "closed");
    for _ in 0..20 {
        assert_eq!(get().await.status, 200);
    }
    assert_eq!(client.send(ask("HEAD", gateway.address, "/")).await.status, 200);
    assert_eq!(origin.seen().len(), 28);
    eventually("every answer counts, with a body or without", async || {
        let state = state().await;
        (state["tries"] == 21 && state["failures"] == 0).then_some(())
    })
    .await;
    assert!(gateway.log().contains("the circuit breaker closes"), "{}", gateway.log());
}

#[tokio::test]
async fn connections_that_cannot_be_made_and_times_that_run_out_are_failures() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = nobody.local_addr().expect("it is bound");
    drop(nobody);
    let hangs = Origin::start(|_| std::future::pending()).await;
    let gateway = Gateway::start(&format!(
        "{HEAD}upstreams:
  gone: {{ peers: ['{address}'], tries: 3, breaker: {{ min: 3, open: 30s }} }}
  slow: {{ peers: ['{}'], tries: 1, breaker: {{ min: 2, open: 30s }} }}
flows:
  - flow: wait
    steps: {{ said: {{ get: 'slow:/', timeout: 50ms }} }}
    respond: {{ text: '${{said}}' }}
routes:
  - {{ name: gone, match: {{ path: /gone }}, to: {{ upstream: gone }} }}
  - {{ name: slow, match: {{ path: /slow }}, to: {{ upstream: slow }}, timeout: 50ms }}
  - {{ name: wait, match: {{ path: /wait }}, to: {{ flow: wait }} }}
",
        hangs.address
    ))
    .await;
    let client = Client::http1();
    let get = async |path: &str| client.get(gateway.address, path).await;
    // All three tries of one request are counted; none is left when it opens.
    let failed = get("/gone").await;
    assert_eq!((failed.status, failed.header("zerver-reason")), (502, "upstream_connect"));
    assert!(seconds(&get("/gone").await) >= 24);

    let reasons =
        [get("/slow").await, get("/wait").await].map(|late| (late.status, late.header("zerver-reason").to_owned()));
    assert_eq!(reasons, [(504, "deadline".to_owned()), (504, "step_timeout".to_owned())]);
    assert!(seconds(&get("/slow").await) >= 24 && seconds(&get("/wait").await) >= 24);
    assert_eq!(hangs.seen().len(), 2);
}
