//! `zerver capture`: what a running gateway keeps, as a file that others open.

use std::fs;
use std::io::BufReader;
use std::path::Path;

use zerver_telemetry::recording::Reader;
use zerver_telemetry::timeline::Timeline;

use crate::binary::{Gateway, HEAD, Ran, zerver};
use crate::client::get;
use crate::support::eventually;

const ROUTES: &str = "routes:
  - { name: good, match: { path: /good }, to: { reply: { body: hello } } }
  - { name: bad, match: { path: /bad }, to: { reply: { status: 503 } } }
";

/// A capture that every reader takes.
fn read(path: &Path) -> (u32, Vec<Timeline>) {
    let file = fs::File::open(path).expect("it was written");
    let mut reader = Reader::new(BufReader::new(file)).expect("it is a recording");
    let timelines = reader.by_ref().map(|timeline| timeline.expect("it is sound")).collect();
    assert!(!reader.torn());
    (reader.header().zrec, timelines)
}

#[tokio::test]
async fn a_capture_holds_what_the_gateway_keeps() {
    let gateway = Gateway::start(&format!("{HEAD}{ROUTES}")).await;
    for path in ["/good"; 9].into_iter().chain(["/bad"; 3]) {
        get(gateway.address, path).await;
    }
    eventually("all requests are collected", async || {
        (gateway.metric("zerver_timelines_total", &[]).await >= 12.0).then_some(())
    })
    .await;
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let at = |name: &str| folder.path().join(name);
    let admin = gateway.admin.to_string();
    let capture = async |name: &str, more: &[&str]| -> Ran {
        let path = at(name);
        zerver(&[&["capture", &admin, "-o", path.to_str().expect("a plain path")], more].concat()).await
    };
    let ran = capture("all.zrec", &[]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let (form, all) = read(&at("all.zrec"));
    assert_eq!((form, all.len()), (2, 12));
    let bytes = fs::metadata(at("all.zrec")).expect("it was written").len();
    assert!(ran.out.is_empty() && ran.err.starts_with(&format!("wrote 12 timelines, {bytes} bytes, to ")), "{ran:?}");
    assert!(all.is_sorted_by_key(|timeline| timeline.seq) && all.iter().all(|timeline| timeline.weight == 1.0));

    // The other form holds the same.
    assert_eq!(capture("all.jsonl", &["--json"]).await.code, 0);
    assert_eq!(read(&at("all.jsonl")), (1, all.clone()));
    assert!(bytes * 3 < fs::metadata(at("all.jsonl")).expect("it was written").len());

    // Parts of it.
    assert_eq!(capture("bad.zrec", &["--errors"]).await.code, 0);
    assert!(read(&at("bad.zrec")).1.iter().map(|timeline| timeline.status).eq([503; 3]));
    let route = all.iter().find(|timeline| timeline.status == 200).map(|timeline| timeline.route.to_string());
    let route = route.expect("there was a good one");
    assert_eq!(capture("good.zrec", &["--route", &route, "--limit", "4"]).await.code, 0);
    let latest: Vec<u64> =
        all.iter().filter(|timeline| *timeline.route == *route).map(|timeline| timeline.seq).collect();
    let (_, good) = read(&at("good.zrec"));
    assert!(good.iter().map(|timeline| timeline.seq).eq(latest[latest.len() - 4..].iter().copied()), "{latest:?}");

    // What fits nothing makes no file; what is there stays unless somebody says otherwise.
    let none = capture("none.zrec", &["--slow-ms", "1000000"]).await;
    assert!(none.code == 1 && none.err.contains("no timeline that fits") && !at("none.zrec").exists(), "{none:?}");
    let again = capture("all.zrec", &["--errors"]).await;
    assert!(again.code == 1 && again.err.contains("--force") && read(&at("all.zrec")).1.len() == 12, "{again:?}");
    assert_eq!(capture("all.zrec", &["--errors", "--force"]).await.code, 0);
    assert_eq!(read(&at("all.zrec")).1.len(), 3);
    assert_eq!(capture("x.zrec", &["--slow-ms", "fast"]).await.code, 2);

    // It opens: too few to compare is an answer about its requests.
    let compared = zerver(&["compare", at("good.zrec").to_str().expect("a plain path"), "--format", "json"]).await;
    assert!(compared.code == 4 && compared.out.contains(&route), "{compared:?}");
    let lines = zerver(&["capture", &admin, "--json", "-o", "-"]).await;
    assert!(lines.code == 0 && lines.out.lines().count() == 13, "{lines:?}");
    assert!(
        lines.err.starts_with("wrote 12 timelines") && lines.err.trim_end().ends_with("standard output"),
        "{lines:?}"
    );

    // Nobody there: a clear word, and no file.
    drop(gateway);
    let gone = capture("gone.zrec", &[]).await;
    assert!(gone.code == 1 && gone.err.starts_with("error: no gateway answers at"), "{gone:?}");
    assert!(!at("gone.zrec").exists());
}
