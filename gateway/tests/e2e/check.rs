//! Point 9: `zerver check` says of each wrong file where it is wrong, what is wrong, and what would be right.

use serde_json::Value;

use crate::binary::{page, zerver};

const WEB: &str = "listen: 127.0.0.1:0\nupstreams: { web: { peers: ['127.0.0.1:81'] } }\n";

/// Checks a page. Its findings are `line:column what; remedy`, in the order in which they are printed.
async fn check(text: &str, findings: &[&str]) {
    let (_folder, file) = page(text);
    let file = file.to_str().expect("the path is text");
    let ran = zerver(&["check", file]).await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{text}\n{}", ran.err);
    let mut told: Vec<String> = Vec::new();
    for part in ran.err.split("error: ").skip(1) {
        let what = part.lines().next().unwrap_or_default().replace(file, "FILE");
        let place = part.lines().find_map(|line| line.trim().strip_prefix("--> ")).expect("a place");
        let place = place.strip_prefix(file).expect("it is in this file").trim_start_matches(':');
        let help = part.lines().find_map(|line| line.trim().strip_prefix("= help: ")).unwrap_or("");
        told.push(format!("{place} {what}; {help}"));
        if let Some((line, column)) = place.split_once(':') {
            let line: usize = line.parse().expect("a line");
            let column: usize = column.parse().expect("a column");
            // The line is shown, and a mark stands under it.
            let shown = format!("{line} | {}", text.lines().nth(line - 1).unwrap_or(""));
            assert!(part.lines().any(|drawn| drawn.trim() == shown.trim()), "`{shown}` is not in\n{part}");
            let mark = format!("| {}^", " ".repeat(column - 1));
            assert!(part.contains(&mark), "{part}");
        }
    }
    assert_eq!(told, findings, "{text}\n{}", ran.err);
}

/// A page with one flow of these steps, which a route serves.
fn flow(steps: &str) -> String {
    format!(
        "{WEB}flows:
  - flow: shop
    steps:
{steps}
    respond: {{ text: ok }}
routes:
  - {{ name: shop, match: {{ path: / }}, to: {{ flow: shop }} }}
"
    )
}

#[tokio::test]
async fn wrong_keys_and_values() {
    check(&format!("{WEB}routs: []\n"), &["3:1 unknown key `routs`; did you mean `routes`?"]).await;
    check("listen: 127.0.0.1:0\n", &["1:1 the key `routes` is missing here; add `routes: …`"]).await;
    check(
        &format!("{WEB}routes: []\nlisten: 127.0.0.1:1\n"),
        &["4:1 the key `listen` stands here twice; remove or rename one of them"],
    )
    .await;
    check(
        &format!("{WEB}limits: {{ head_timeout: 5 parsecs }}\nroutes: []\n"),
        &["3:25 `parsecs` in `5 parsecs` is no unit of time; the units are us, ms, s, m, h and d; "],
    )
    .await;
    check(
        "listen: localhost\nroutes: []\n",
        &["1:9 `localhost` is no address to listen on; \
           write an IP address and a port, such as `127.0.0.1:8080` or `[::1]:8080`"],
    )
    .await;
    check(
        "listen: 127.0.0.1:0\nupstreams: { web: { peers: ['http://127.0.0.1:81'] } }\nroutes: []\n",
        &["2:29 `http://127.0.0.1:81` is no address of a peer; \
           write host and port, such as `127.0.0.1:8081` or `carts.internal:80`, without a scheme"],
    )
    .await;
    for (breaker, says) in [
        ("failures: 0", "failures` is 0; a share lies above 0 and is at most 1; 0.5 opens it when half fail"),
        ("failures: 1.5", "failures` is 1.5; a share lies above 0 and is at most 1; 0.5 opens it when half fail"),
        ("min: 0", "min` is 0; it counts at least one try; leave it out for the default"),
        ("probes: 0", "probes` is 0; it counts at least one try; leave it out for the default"),
        ("open: 0", "open` does not lie between 1ms and 60s; 5s is the default; it doubles up to 60s by itself"),
        ("statuses: [503, 200]", "statuses` holds 200, which is no failure; name statuses from 400 to 599"),
    ] {
        check(
            &format!(
                "listen: 127.0.0.1:0
upstreams: {{ web: {{ peers: ['127.0.0.1:81'], breaker: {{ {breaker} }} }} }}
routes: []
"
            ),
            &[&format!("2:19 upstream `web`: `breaker.{says}")],
        )
        .await;
    }
    check(
        "listen: 127.0.0.1:0\nadmin: { listen: '0.0.0.0:9901' }\nroutes: []\n",
        &["2:18 the admin listener is reachable from other machines but has no token; \
           listen on `127.0.0.1`, or set `admin.token`"],
    )
    .await;
}

#[tokio::test]
async fn routes_that_lead_nowhere_or_clash() {
    check(
        &format!("{WEB}routes:\n  - {{ name: a, match: {{ path: / }}, to: {{ upstream: wib }} }}\n"),
        &["4:52 no upstream is named `wib`; did you mean `web`?"],
    )
    .await;
    check(
        &format!("{WEB}routes:\n  - {{ name: a, match: {{ path: / }}, to: {{ flow: shop }} }}\n"),
        &["4:48 no flow is named `shop`; none is declared"],
    )
    .await;
    let two = "  - { name: a, match: { path: '/x/{id}' }, to: { upstream: web } }
  - { name: b, match: { path: '/x/{name}' }, to: { upstream: web } }
";
    check(
        &format!("{WEB}routes:\n{two}"),
        &["5:31 route `b` takes the same requests as route `a`; \
           give one of them another path, host, method, header or query condition, or remove it"],
    )
    .await;
    // Everything that is wrong is told at once, in the order of the page.
    check(
        &format!(
            "{WEB}routes:
  - {{ name: a, match: {{ path: x }}, to: {{ upstream: wob }} }}
  - {{ name: a, match: {{ path: /b, method: [GOT] }}, to: {{ upstream: web }}, rate_limit: [few] }}
"
        ),
        &[
            "4:31 a path pattern begins with `/`; ",
            "4:52 no upstream is named `wob`; did you mean `web`?",
            "5:13 two routes are named `a`; a route's name is its name in timelines and metrics: rename one",
            "5:44 `GOT` is no method of HTTP; did you mean `GET`?",
            "5:88 no rate limit is named `few`; none is declared",
        ],
    )
    .await;
}

#[tokio::test]
async fn flows_that_cannot_run() {
    // What reads a slot that nothing writes, and what is written twice.
    check(
        &flow("      cart: { get: 'web:/a' }\n      b: { get: 'web:/b/${card.id}' }"),
        &["7:17 steps.b.get reads `card`, but no step has that name; did you mean `cart`?"],
    )
    .await;
    check(
        &flow("      a: { get: 'web:/a' }\n      a: { get: 'web:/b' }"),
        &["7:7 the key `a` stands here twice; remove or rename one of them"],
    )
    .await;
    check(
        &flow("      a: { get: 'web:/a/${b}' }\n      b: { get: 'web:/b/${a}' }"),
        &["6:7 cycle: a -> reads b -> reads a; \
           a step reads only what is written before it: let one of them read something else"],
    )
    .await;
    check(&flow("      a: { get: 'wib:/a' }"), &["6:17 steps.a.get: no upstream is called `wib`; did you mean `web`?"])
        .await;
    check(
        &flow("      a: { get: 'web:/a', optionl: true }"),
        &["6:27 steps.a: unknown key `optionl`; did you mean `optional`?"],
    )
    .await;
    check(
        &flow("      a: { get: 'web:/a', timeout: soon }"),
        &["6:36 steps.a.timeout: `soon` is no duration; write it as `300ms`, `2s` or `1m`"],
    )
    .await;
    check(&flow("      a: { set: '${1 +}' }"), &["6:17 steps.a.set: `1 +` ends too early; "]).await;
}

#[tokio::test]
async fn files_that_hold_no_page() {
    let empty = "the file holds no configuration; begin with `listen: 127.0.0.1:8080` and a list of `routes:`";
    check("", &[&format!(" {empty}")]).await;
    check("# only a remark\n\n", &[&format!(" {empty}")]).await;
    check(
        "{{{: [",
        &["1:6 unclosed bracket '['; this is no YAML: look at brackets, quotes and indentation before this place"],
    )
    .await;
    check("just a sentence", &["1:1 expected mapping start; `key: value` lines belong here, indented by two spaces"])
        .await;
    let missing = zerver(&["check", "no/such/file.yaml"]).await;
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("cannot read no/such/file.yaml: No such file"), "{}", missing.err);
    assert!(missing.err.contains("= help: give the path of a configuration file"), "{}", missing.err);
    let (folder, file) = page("");
    std::fs::write(&file, b"listen: \xff\xfe\n").expect("the page is written");
    for path in [file.as_path(), folder.path()] {
        let path = path.to_str().expect("the path is text");
        let ran = zerver(&["check", path]).await;
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("= help: a configuration file is UTF-8 text"), "{}", ran.err);
    }
}

#[tokio::test]
async fn a_sound_file_is_said_to_be_sound() {
    let (_folder, file) = page(&flow("      a: { get: 'web:/a' }"));
    let file = file.to_str().expect("the path is text");
    let ran = zerver(&["check", file]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out.trim(), format!("{file}: ok: 1 route, 1 flow, 1 upstream, 0 rate limits"));
    let routes = zerver(&["routes", file]).await;
    assert_eq!((routes.code, routes.out.trim()), (0, "shop  * /  flow shop@1"));
}

#[tokio::test]
async fn the_schema_has_every_key() {
    let ran = zerver(&["check", "--schema"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let schema: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    let keys: Vec<&String> = schema["properties"].as_object().expect("an object").keys().collect();
    let mut wanted = [
        "listen",
        "admin",
        "debug",
        "workers",
        "limits",
        "telemetry",
        "log",
        "access_log",
        "redact",
        "upstreams",
        "rate_limits",
        "flows",
        "routes",
    ];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    assert_eq!(schema["additionalProperties"], false, "unknown keys are wrong");
    assert_eq!(schema["required"], serde_json::json!(["listen", "routes"]));
}

#[tokio::test]
async fn flows_name_flows_that_are_there() {
    check(
        &flow("      a: { flow: shopp }\n      b: { flow: shop }"),
        &["6:18 steps.a.flow: no flow is called `shopp`; did you mean `shop`?"],
    )
    .await;
}
