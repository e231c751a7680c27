"""The self-test of tools/tidy: each rule gets a small tree that breaks it and one that does not."""

import re
import tempfile
from pathlib import Path

DOOR = "//! The door.\nmod a;\nmod b;\n"

# (rule, what it shows, files, the faults expected as `path:line`)
CASES = [
    ("purpose", "a file without its sentence", {"flows/src/a.rs": "use std::fmt;\n"}, ["flows/src/a.rs:1"]),
    ("purpose", "a sentence, with and without a licence line",
     {"flows/src/a.rs": "//! What it is for.\n",
      "flows/src/b.rs": "// SPDX-License-Identifier: Apache-2.0\n//! What it is for.\n"}, []),
    ("purpose", "an input of a compile-fail test is no room", {"flows/tests/fail/a.rs": "fn main() {}\n"}, []),
    ("size", "601 lines", {"flows/src/a.rs": "//! Long.\n" + "\n" * 600}, ["flows/src/a.rs:601"]),
    ("size", "600 lines", {"flows/src/a.rs": "//! Long.\n" + "\n" * 599}, []),
    ("names", "mod.rs and empty words",
     {"flows/src/a/mod.rs": "//! A.\n", "flows/src/util.rs": "//! U.\n", "flows/src/common/x.rs": "//! X.\n"},
     ["flows/src/a/mod.rs:1", "flows/src/common/x.rs:1", "flows/src/util.rs:1"]),
    ("names", "a word that only contains one", {"flows/src/utility_price.rs": "//! A.\n"}, []),
    ("floors", "telemetry looks up", {"telemetry/src/a.rs": "//! A.\nuse zerver_flows::Step;\n"}, ["telemetry/src/a.rs:2"]),
    ("floors", "flows looks up, in the middle of a line",
     {"flows/src/a.rs": "//! A.\nfn f() { let _ = ::zerver::App::new(); }\n"}, ["flows/src/a.rs:2"]),
    ("floors", "the viewer names flows", {"viewer/src/a.rs": "//! A.\nuse {zerver_flows::Step};\n"}, ["viewer/src/a.rs:2"]),
    ("floors", "imports downwards, and words in comments and strings",
     {"flows/src/a.rs": "//! For zerver::App.\nuse zerver_telemetry::event::Event;\n// pingora_core::x\n"
                        "const A: &str = \"pingora_core::x\"; const B: &str = r#\"quanta::\"x\"#;\n"}, []),
    ("floors", "pingora outside the edge", {"gateway/src/route.rs": "//! A.\nuse pingora_http::RequestHeader;\n"}, ["gateway/src/route.rs:2"]),
    ("floors", "pingora at the edge and in bench",
     {"gateway/src/edge/body.rs": "//! A.\nuse pingora_http::RequestHeader;\n",
      "gateway/src/upstream.rs": "//! A.\nuse pingora_core::x;\n", "bench/src/main.rs": "//! A.\nuse pingora_core::x;\n"}, []),
    ("floors", "the viewer outside the command line", {"gateway/src/admin.rs": "//! A.\nuse zerver_viewer::run;\n"}, ["gateway/src/admin.rs:2"]),
    ("floors", "a driver with a runtime", {"flows/src/driver.rs": "//! A.\nuse tokio::task;\nuse std::thread;\n"},
     ["flows/src/driver.rs:2", "flows/src/driver.rs:3"]),
    ("floors", "a driver whose tests have one", {"flows/src/driver.rs": "//! A.\n#[cfg(test)]\nmod tests {\n    use tokio::task;\n}\n"}, []),
    ("floors", "a socket in flows", {"flows/src/engine.rs": "//! A.\nuse std::net::TcpStream;\n"}, ["flows/src/engine.rs:2"]),
    ("floors", "an address is no socket", {"flows/src/engine.rs": "//! A.\nuse std::net::IpAddr;\n"}, []),
    ("floors", "a socket in an adapter", {"flows/src/adapter/http.rs": "//! A.\nuse std::net::TcpStream;\n"}, []),
    ("clock", "a clock read elsewhere",
     {"flows/src/a.rs": "//! A.\nlet t = std::time::Instant::now();\nlet u = SystemTime::now();\n"},
     ["flows/src/a.rs:2", "flows/src/a.rs:3"]),
    ("clock", "the clock's room, and the runtime's own time",
     {"telemetry/src/clock.rs": "//! A.\nlet t = Instant::now();\n",
      "flows/src/a.rs": "//! A.\nuse tokio::time::Instant;\nlet t = Instant::now();\nlet u = tokio::time::Instant::now();\n"}, []),
    ("unsafe_code", "unsafe elsewhere", {"flows/src/a.rs": "//! A.\nunsafe { f() }\n"}, ["flows/src/a.rs:2"]),
    ("unsafe_code", "a room for it, and the word in a lint or a comment",
     {"telemetry/src/ring.rs": "//! A.\nunsafe { f() }\n", "flows/src/a.rs": "//! Not unsafe.\n#![forbid(unsafe_code)]\n"}, []),
    ("unfinished", "what is not done",
     {"flows/src/a.rs": "//! A.\ntodo!();\nunimplemented!(\"x\");\n#[ignore]\n#[allow(dead_code)]\n#[expect(dead_code)]\n"},
     [f"flows/src/a.rs:{n}" for n in (2, 3, 4, 5, 6)]),
    ("unfinished", "what has a reason",
     {"flows/src/a.rs": "//! A todo!().\n#[ignore = \"needs a kernel\"]\n#[expect(dead_code, reason = \"it is read\")]\n"}, []),
    ("process_wide", "state in a static",
     {"flows/src/a.rs": "//! A.\nstatic N: AtomicU64 = AtomicU64::new(0);\npub static M: std::sync::Mutex<u8> = Mutex::new(0);\n"},
     ["flows/src/a.rs:2", "flows/src/a.rs:3"]),
    ("process_wide", "tables, lifetimes, threads and tests",
     {"flows/src/a.rs": "//! A.\nstatic T: [u8; 2] = [0, 1];\nfn f(x: &'static Mutex<u8>) {}\n"
                        "thread_local! {\n    static W: Cell<u16> = const { Cell::new(0) };\n}\n"
                        "#[cfg(test)]\nmod tests { static N: AtomicU64 = AtomicU64::new(0); }\n"}, []),
    ("door", "a re-export by its short name",
     {"flows/src/lib.rs": DOOR, "flows/src/a.rs": "//! A.\nuse crate::Step;\n", "flows/src/b.rs": "//! B.\nuse super::{a::X, Step};\n"},
     ["flows/src/a.rs:2", "flows/src/b.rs:2"]),
    ("door", "the module it lives in, and a macro at the root",
     {"flows/src/lib.rs": DOOR, "flows/src/a.rs": "//! A.\nuse crate::b::Step;\nfn f() { crate::say!(1); }\n",
      "flows/src/b.rs": "//! B.\nmod inner {\n    use super::Step;\n}\n"}, []),
    ("circles", "two files", {"flows/src/lib.rs": DOOR, "flows/src/a.rs": "//! A.\n\nuse crate::b::B;\n", "flows/src/b.rs": "//! B.\nuse super::a::A;\n"},
     ["flows/src/a.rs:3"]),
    ("circles", "three files, one edge in an expression",
     {"flows/src/lib.rs": DOOR, "flows/src/a.rs": "//! A.\nuse crate::b::B;\n", "flows/src/b.rs": "//! B.\nuse crate::{c::{self, C}};\n",
      "flows/src/c.rs": "//! C.\nfn f() -> crate::a::A {}\n"}, ["flows/src/a.rs:2"]),
    ("circles", "a parent that is both the contract and the whole",
     {"flows/src/lib.rs": "//! Door.\nmod a;\n", "flows/src/a.rs": "//! A.\nmod b;\nuse b::B;\n", "flows/src/a/b.rs": "//! B.\nuse super::Contract;\n"},
     ["flows/src/a.rs:3"]),
    ("circles", "one way, the other way only in tests",
     {"flows/src/lib.rs": DOOR + "pub use a::A;\n", "flows/src/a.rs": "//! A.\nuse crate::b::B;\nuse self::inner::C;\nmod inner {\n    use super::A;\n}\n",
      "flows/src/b.rs": "//! B.\n#[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::a::A;\n}\n"}, []),
    ("circles", "a file of test code, and a visibility that names its parent",
     {"flows/src/lib.rs": DOOR, "flows/src/a.rs": "//! A.\nmod c;\nuse c::C;\n#[cfg(test)]\nmod fake;\n",
      "flows/src/a/c.rs": "//! C.\npub(in crate::a) struct C;\n", "flows/src/a/fake.rs": "//! F.\nuse super::A;\nuse crate::b::B;\n",
      "flows/src/b.rs": "//! B.\nuse crate::a::A;\n"}, []),
    ("circles", "a parent that shows what its child holds",
     {"flows/src/lib.rs": DOOR, "flows/src/a.rs": "//! A.\nmod c;\npub(crate) use self::c::C;\npub use c::D;\n",
      "flows/src/a/c.rs": "//! C.\nuse super::A;\n"}, []),
    ("manifests", "a version of its own, a dependency nobody names",
     {"viewer/Cargo.toml": "[dependencies]\nserde = \"1\"\nserde-saphyr.workspace = true\n[features]\nx = [\"dep:serde\"]\n",
      "viewer/src/a.rs": "//! serde_saphyr::x\nuse serde::Serialize;\nuse crate::serde_saphyr::x;\n"},
     ["viewer/Cargo.toml:2", "viewer/Cargo.toml:3"]),
    ("manifests", "used, or kept on purpose",
     {"viewer/Cargo.toml": "[dependencies]\nserde.workspace = true\nmimalloc = { workspace = true, optional = true }\n"
                           "[dev-dependencies]\nproptest.workspace = true\n[package.metadata.tidy]\nignored = [\"mimalloc\"]\n",
      "viewer/src/a.rs": "//! A.\nuse serde::Serialize;\n", "viewer/tests/t.rs": "//! T.\nproptest::proptest! {}\n"}, []),
    ("dashboards", "a metric that is not there",
     {"telemetry/src/metrics/catalog.rs": "//! A.\n\"zerver_requests_total\", \"zerver_request_seconds\"\n",
      "dashboards/a.json": "{\n\"expr\": \"rate(zerver_request_total[1m])\"\n}\n"}, ["dashboards/a.json:2"]),
    ("dashboards", "metrics that are there, a histogram's parts, a recorded name",
     {"telemetry/src/metrics.rs": "//! A.\n\"zerver_requests_total\", \"zerver_request_seconds\"\n",
      "dashboards/a.yml": "expr: zerver_requests_total / zerver_request_seconds_bucket\nrecord: route:zerver_x:rate\n"}, []),
    ("links", "dead ends", {"docs/a.md": "# A\n[x](b.md)\n[y](a.md#c)\n[z]: ../../out.md\n[w](#nope)\n"},
     [f"docs/a.md:{n}" for n in (2, 3, 4, 5)]),
    ("links", "live ones, the web, and code",
     {"docs/a.md": "# One `two`, three\n## B\n## B\n[x](../b.md) [y](#one-two-three) [z](#b-1) [w](https://example.org/x)\n```\n[v](nope.md)\n```\n`[u](nope.md)`\n",
      "b.md": "B\n"}, []),
]


def run(check, rules):
    """Prints what fails; 0 when every rule is shown to catch and to let pass."""
    failed = 0
    for name, shows, files, expected in CASES:
        with tempfile.TemporaryDirectory() as folder:
            for path, text in files.items():
                there = Path(folder) / path
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_text(text, encoding="utf-8")
            found = check(folder, [r for r in rules if r.__name__ == name]).faults
        got = sorted(re.match(r"[^:]+:\d+", text)[0] for _, _, text in found)
        if got != sorted(expected):
            failed += 1
            print(f"tidy self-test: {name}, {shows}: expected {sorted(expected)}, found {[t for _, _, t in found]}")
    for r in rules:
        caught = {bool(expected) for name, _, _, expected in CASES if name == r.__name__}
        if caught != {True, False}:
            failed += 1
            print(f"tidy self-test: rule {r.__name__} needs a case that breaks it and one that does not")
    print(f"tidy self-test: {len(CASES)} cases, {failed} failed")
    return 1 if failed else 0
