//! Point 10: a page that changes under load fails no request, and a page that is wrong changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crate::binary::{Gateway, HEAD, zerver};
use crate::client::{Client, ask, get};
use crate::origin::{Origin, answer};
use crate::support::{eventually, turn};

/// A page whose fixed reply and upstream tell its version.
fn page(version: u32, origin: &Origin) -> String {
    format!(
        "{HEAD}upstreams: {{ web: {{ peers: ['{}'] }} }}
flows:
  - flow: ask
    steps: {{ said: {{ get: 'web:/flow' }} }}
    respond: {{ text: 'flow {version}' }}
routes:
  - {{ name: web, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: web }} }}
  - {{ name: ask, match: {{ path: '/ask' }}, to: {{ flow: ask }} }}
  - {{ name: reply, match: {{ path: '/reply' }}, to: {{ reply: {{ body: 'reply {version}' }} }} }}
",
        origin.address
    )
}

async fn named(name: &'static str) -> Origin {
    Origin::start(move |_| async move { answer(200, format!("\"{name}\"")) }).await
}

async fn version(gateway: &Gateway) -> u64 {
    gateway.ask("/health/ready").await.json()["config_version"].as_u64().expect("a number")
}

#[tokio::test]
async fn twenty_reloads_under_load_fail_no_request() {
    let _turn = turn();
    let origins = [named("one").await, named("two").await];
    let gateway = Gateway::start(&page(0, &origins[0])).await;
    let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let address = gateway.address;
    let clients = ["/page", "/ask", "/reply", "/page"].into_iter().zip([0, 0, 0, 1]);
    let load: Vec<_> = clients
        .map(|(path, http2)| {
            let (stop, good) = (Arc::clone(&stop), Arc::clone(&good));
            tokio::spawn(async move {
                let client = if http2 == 1 { Client::http2() } else { Client::http1() };
                while !stop.load(SeqCst) {
                    let answer = client.try_send(ask("GET", address, path)).await;
                    let answer = answer.unwrap_or_else(|| panic!("a request to {path} is not answered"));
                    assert_eq!(answer.status, 200, "{path}: {answer:?}");
                    good.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    for n in 1..=20 {
        let (before, served) = (version(&gateway).await, good.load(SeqCst));
        let origin = &origins[n as usize % 2];
        let asked = origin.seen().len();
        gateway.rewrite(&page(n, origin));
        eventually("the new reply arrives", async || {
            (get(address, "/reply").await.text() == format!("reply {n}")).then_some(())
        })
        .await;
        assert_eq!(get(address, "/ask").await.text(), format!("flow {n}"));
        assert!(version(&gateway).await > before, "the version grows");
        eventually("the new upstream is asked", async || (origin.seen().len() > asked + 2).then_some(())).await;
        eventually("the load goes on", async || (good.load(SeqCst) > served + 20).then_some(())).await;
    }
    stop.store(true, SeqCst);
    for client in load {
        client.await.expect("not one request failed");
    }
    assert_eq!(gateway.metric("zerver_config_reloads_total", &["result=\"loaded\""]).await as u64, 20);
    assert_eq!(gateway.metric("zerver_config_version", &[]).await as u64, version(&gateway).await);
    let requests = gateway.timelines().await;
    assert!(requests.iter().any(|timeline| timeline.config_version > 10), "timelines tell the version");
}

#[tokio::test]
async fn a_wrong_page_is_refused_and_the_old_one_goes_on() {
    let origin = named("one").await;
    let gateway = Gateway::start(&page(1, &origin)).await;
    let wrong = page(2, &origin).replace("upstream: web", "upstream: wib").replace("steps:", "stepps:");
    gateway.rewrite(&wrong);
    let checked = zerver(&["check", gateway.file.to_str().expect("the path is text")]).await;
    assert_eq!(checked.code, 2);
    eventually("the log tells what `zerver check` tells", async || {
        // Set in by four blanks, so that no line of it looks like a record of its own.
        gateway.log().replace("\n    ", "\n").contains(checked.err.trim_end()).then_some(())
    })
    .await;
    assert!(gateway.log().contains("the configuration was not reloaded, the old one goes on"), "{}", gateway.log());
    assert_eq!(get(gateway.address, "/reply").await.text(), "reply 1");
    assert_eq!(version(&gateway).await, 1);

    // Asked for, the same is told in the answer.
    let refused = Client::http1().send(ask("POST", gateway.admin, "/reload")).await;
    assert_eq!((refused.status, refused.text().trim_end()), (422, checked.err.trim_end()));
    assert!(gateway.metric("zerver_config_reloads_total", &["result=\"rejected\""]).await >= 2.0);

    // A page that is gone is no reason to stop either.
    std::fs::remove_file(&gateway.file).expect("the page is there");
    let refused = Client::http1().send(ask("POST", gateway.admin, "/reload")).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("cannot read"), "{}", refused.text());
    gateway.rewrite(&page(3, &origin));
    eventually("the next right page is taken", async || {
        (get(gateway.address, "/reply").await.text() == "reply 3").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_signal_and_the_admin_api_reload() {
    let origin = named("one").await;
    let gateway = Gateway::start(&page(1, &origin)).await;
    let before = version(&gateway).await;
    gateway.signal("HUP");
    eventually("SIGHUP reloads", async || (version(&gateway).await == before + 1).then_some(())).await;
    let reloaded = Client::http1().send(ask("POST", gateway.admin, "/reload")).await;
    assert_eq!((reloaded.status, reloaded.json()["config_version"].as_u64()), (200, Some(before + 2)));
    assert_eq!(get(gateway.address, "/reply").await.text(), "reply 1");
}
