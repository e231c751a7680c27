//! Environment, secrets and exit codes: what the command line says of itself.

use crate::binary::{Gateway, HEAD, command, page, run, zerver};
use crate::client::{Client, ask, request};

#[tokio::test]
async fn the_environment_is_listed() {
    let mut env = command();
    env.arg("env").env("ZER_ADMIN_TOKEN", "hunter2").env("ZER_VER_PROMOTE_QUEUE_MS", "7").env("ZER_VER_PROMOT", "1");
    let ran = run(env).await;
    assert_eq!(ran.code, 0);
    for name in [
        "ZER_LISTEN",
        "ZER_ADMIN_LISTEN",
        "ZER_WORKERS",
        "ZER_VER_PROMOTE_QUEUE_MS = 7",
        "ZER_VER_PROMOTE_PARK_MS (not set)",
        "ZER_VER_DEBUG_JOBS",
        "ZER_VER_OTEL_ENABLED",
        "ZER_VER_OTEL_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "ZER_ADMIN_TOKEN = ***",
    ] {
        assert!(ran.out.contains(name), "`{name}` is not in\n{}", ran.out);
    }
    assert!(!ran.out.contains("hunter2"), "{}", ran.out);
    assert!(ran.err.contains("warning: the environment variable ZER_VER_PROMOT means nothing"), "{}", ran.err);
}

#[tokio::test]
async fn a_variable_with_an_unfit_value_is_named() {
    let (_folder, file) = page(&format!("{HEAD}routes: []\n"));
    for subcommand in ["check", "run"] {
        let mut wrong = command();
        wrong.arg(subcommand).arg(&file).env("ZER_VER_PROMOTE_PARK_MS", "soon");
        let ran = run(wrong).await;
        assert_eq!(ran.code, 2);
        let says = "the environment variable ZER_VER_PROMOTE_PARK_MS=`soon` is no number of milliseconds";
        assert!(ran.err.contains(says) && ran.err.contains("it takes milliseconds (default: 5)"), "{}", ran.err);
    }
}

#[tokio::test]
async fn secrets_stay_secret_and_guard_the_admin_pages() {
    let text = "listen: 127.0.0.1:0
admin: { listen: '127.0.0.1:0', token: '${SHOP_TOKEN}' }
routes: [{ name: hi, match: { path: / }, to: { reply: { body: hi } } }]
";
    let gateway = Gateway::start_with(text, &[("SHOP_TOKEN", "hunter2")]).await;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(gateway.ask(path).await.status, 200, "health needs no token");
    }
    let with = async |method: &str, path: &str, value: &str| {
        Client::http1().send(request(method, gateway.admin, path, &[("authorization", value)], "")).await
    };
    for path in ["/", "/metrics", "/timelines", "/config", "/in-flight", "/stuck", "/stuck/1", "/no-such-page"] {
        assert_eq!(gateway.ask(path).await.status, 401, "{path}");
        assert_eq!(with("GET", path, "Bearer hunter").await.status, 401, "{path}");
        assert_eq!(with("GET", path, "Basic hunter2").await.status, 401, "{path}");
    }
    for (method, path) in [("POST", "/reload"), ("POST", "/stuck/1/resume"), ("DELETE", "/stuck/1")] {
        assert_eq!(Client::http1().send(ask(method, gateway.admin, path)).await.status, 401, "{method} {path}");
    }
    let refused = gateway.ask("/config").await;
    assert_eq!(refused.json()["detail"], "send the admin token: `Authorization: Bearer …`");
    let config = with("GET", "/config", "Bearer hunter2").await;
    assert_eq!(config.status, 200);
    assert!(config.text().contains("***") && !config.text().contains("hunter2"), "{}", config.text());
    assert!(!gateway.log().contains("hunter2"), "{}", gateway.log());

    let admin = gateway.admin.to_string();
    let asked = zerver(&["compare", &admin]).await;
    assert_eq!(asked.code, 1);
    assert!(asked.err.contains("set ZER_ADMIN_TOKEN or give --token"), "{}", asked.err);
    assert_eq!(zerver(&["compare", &admin, "--token", "hunter2"]).await.code, 4, "too few requests, but it answers");

    let given = zerver(&["stuck", "forget", "1", "--admin", &admin, "--token", "hunter2"]).await;
    assert!(given.err.contains("no stuck run has the number 1"), "{}", given.err);

    // A token whose variable is missing is said before anything listens.
    let (_folder, file) = page(text);
    let ran = zerver(&["run", file.to_str().expect("the path is text")]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("the environment variable `SHOP_TOKEN` is not set"), "{}", ran.err);
}

#[tokio::test]
async fn the_command_line_says_what_it_takes() {
    let unknown = zerver(&["serve"]).await;
    assert_eq!((unknown.code, unknown.out.as_str()), (2, ""));
    assert!(unknown.err.contains("unrecognized subcommand 'serve'"), "{}", unknown.err);
    assert_eq!(zerver(&[]).await.code, 2);
    assert_eq!(zerver(&["run"]).await.code, 2);
    let help = zerver(&["--help"]).await;
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for subcommand in ["run", "demo", "check", "env", "routes", "flows", "lint", "graph", "view", "compare", "stuck"] {
        assert!(help.out.lines().any(|line| line.trim_start().starts_with(subcommand)), "{}", help.out);
        assert_eq!(zerver(&[subcommand, "--help"]).await.code, 0, "{subcommand}");
    }
    let version = zerver(&["--version"]).await;
    assert_eq!(version.out.trim(), format!("zerver {}", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_port_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = taken.local_addr().expect("it is bound");
    let (_folder, file) = page(&format!("listen: {address}\nadmin: {{ listen: '127.0.0.1:0' }}\nroutes: []\n"));
    let ran = zerver(&["run", file.to_str().expect("the path is text")]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains(&format!("cannot listen on {address}")), "{}", ran.err);
}
