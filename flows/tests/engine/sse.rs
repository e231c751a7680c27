//! Server-sent events against the rules and the examples of WHATWG HTML, section 9.2.

use std::time::Duration;

use proptest::prelude::*;
use zerver_flows::fake::{Done, Fake};
use zerver_flows::{Event, Req, Response, Result, flow, step};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What a client makes of a stream: 9.2.6, "Interpreting an event stream".
#[derive(Debug, Default, PartialEq)]
struct Client {
    /// Name, data and last event id of each event that is dispatched.
    events: Vec<(String, String, String)>,
    last_id: String,
    retry_ms: Option<u64>,
}

fn client(stream: &str) -> Client {
    let mut client = Client::default();
    let (mut name, mut data) = (String::new(), String::new());
    let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
    // What is behind the last line's end is incomplete and dropped.
    let Some((lines, _)) = lines.rsplit_once('\n') else { return client };
    for line in lines.split('\n') {
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                let name = if name.is_empty() { "message".to_owned() } else { name.clone() };
                client.events.push((name, data.clone(), client.last_id.clone()));
            }
            (name, data) = (String::new(), String::new());
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => data = format!("{data}{value}\n"),
            "id" if !value.contains('\0') => client.last_id = value.to_owned(),
            "retry" => client.retry_ms = value.parse().ok().or(client.retry_ms),
            _ => {}
        }
    }
    client
}

/// What goes over the wire for these events.
fn wire(events: Vec<Event>) -> String {
    let response = Response::sse(|mut writer| async move {
        for event in events {
            writer.send(event).await?;
        }
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let bytes = runtime.block_on(response.body.read()).expect("the events are sound");
    String::from_utf8(bytes.to_vec()).expect("a stream of events is UTF-8")
}

fn event(name: &str, data: &str, id: &str) -> (String, String, String) {
    (name.to_owned(), data.to_owned(), id.to_owned())
}

/// Each example of 9.2.6: what our events become is what the client makes of the standard's own text.
#[test]
fn the_examples_of_the_standard() {
    for (standard, ours) in [
        ("data: YHOO\ndata: +2\ndata: 10\n\n", vec![Event::new().data("YHOO\n+2\n10")]),
        (
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            vec![
                Event::new().comment("test stream"),
                Event::new().data("first event").id("1"),
                Event::new().data("second event").id(""),
                Event::new().data(" third event"),
            ],
        ),
        ("data\n\ndata\ndata\n\n", vec![Event::new().data(""), Event::new().data("\n")]),
        ("data:test\n\ndata: test\n\n", vec![Event::new().data("test"), Event::new().data("test")]),
        (
            "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
            vec![Event::new().event("add").data("73857293"), Event::new().event("remove").json(&2153)],
        ),
        ("retry: 2500\n\n", vec![Event::new().retry(Duration::from_millis(2_500))]),
    ] {
        assert_eq!(client(&wire(ours)), client(standard), "{standard:?}");
    }
    let stream = wire(vec![Event::new().comment("a").id("7").event("tick").retry(secs(1)).data("x\ny")]);
    assert_eq!(stream, ": a\nid: 7\nevent: tick\nretry: 1000\ndata: x\ndata: y\n\n");
}

#[test]
fn a_named_event_reaches_its_listener_without_data() {
    assert_eq!(client(&wire(vec![Event::new().event("ping")])).events, [event("ping", "", "")]);
}

proptest! {
    /// No data, no comment and no text of any field makes more events, or others, than were sent.
    #[test]
    fn nothing_can_be_injected(data in "(\r|\n|:|data: |[ a-z]|\u{0}|ü){0,12}", comment in "(\r|\n|data: x|[a-z]){0,6}") {
        let sent = vec![Event::new().id("1").event("e").data(data.clone()).comment(comment)];
        let lines = data.replace("\r\n", "\n").replace('\r', "\n");
        prop_assert_eq!(client(&wire(sent)).events, [event("e", &lines, "1")]);
    }
}

#[test]
fn a_line_break_in_an_id_or_a_name_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for bad in [
        Event::new().id("1\ndata: x"),
        Event::new().id("1\r"),
        Event::new().id("\0"),
        Event::new().event("a\n\nb"),
        Event::new().json(&std::collections::BTreeMap::from([((1, 2), 3)])),
    ] {
        let response = Response::sse(move |mut events| async move { events.send(bad).await });
        let broken = runtime.block_on(response.body.read()).expect_err("it is refused");
        assert_eq!(broken.code, "bad_event");
    }
}

#[step]
async fn tick(req: &Req) -> Result<Response> {
    let keep = req.query("keep").map(|keep| secs(keep.parse().unwrap_or(0)));
    let silent = req.query("silent").is_some();
    Ok(Response::sse(move |mut events| async move {
        if keep.is_some() || silent {
            events.keep_alive(keep);
        }
        for n in 1_u64.. {
            events.send(Event::new().id(n.to_string()).data(format!("tick {n}"))).await?;
            events.pause(secs(40)).await;
        }
        Ok(())
    }))
}
#[flow("tick-tock")]
async fn ticks(req: &Req) -> Response {
    tick(req)
}

fn listen(target: &str, leaves: u64) -> Done {
    Fake::new().client_leaves(secs(leaves)).run(&ticks(), Req::get(target))
}

#[test]
fn comments_keep_a_silent_stream_alive() {
    let done = listen("/ticks", 90);
    let came: Vec<(u64, &[u8])> = done.pieces.iter().map(|(at, piece)| (at.as_secs(), &piece[..])).collect();
    let (one, two, three) = (&b"id: 1\ndata: tick 1\n\n"[..], b"id: 2\ndata: tick 2\n\n", b"id: 3\ndata: tick 3\n\n");
    assert_eq!(
        came,
        [(0, one), (15, b":\n\n"), (30, b":\n\n"), (40, two), (55, b":\n\n"), (70, b":\n\n"), (80, three)],
        "15 s after whatever was sent last"
    );
    assert_eq!(client(&done.text()).events.len(), 3);
    assert_eq!(listen("/ticks?keep=25", 50).pieces.len(), 3);
    assert_eq!(listen("/ticks?silent", 50).pieces.len(), 2);
}

#[test]
fn the_head_says_what_it_is_and_that_nobody_may_hold_it_back() {
    let done = listen("/ticks", 1);
    let head = &done.outcome.result.as_ref().expect("it is answered").headers;
    assert_eq!(head["content-type"], "text/event-stream");
    assert_eq!(
        (&head["cache-control"], &head["x-accel-buffering"]),
        (&"no-store".parse().unwrap(), &"no".parse().unwrap())
    );
}
