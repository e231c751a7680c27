//! Bodies of requests that are looked at and passed on while they arrive.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, join};
use http::Method;
use zerver_flows::adapter::{Adapter, EffectError, HttpAnswer, HttpCall, Traced};
use zerver_flows::fake::Fake;
use zerver_flows::replay::replay;
use zerver_flows::upload::{PEEK_MAX, UploadError};
use zerver_flows::{Engine, Env, Fail, FlowOutcome, Fx, Req, Response, Result, Upload, flow, step};
use zerver_telemetry::clock::Clock;
use zerver_telemetry::event::{Cause, NodeKind, Outcome};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Recorder;
use zerver_telemetry::timeline::{Timeline, Value};

#[step]
async fn sniff(req: &Req, fx: &Fx<'_>) -> Result<bool> {
    match &fx.peek(req, 3).await?[..] {
        b"PNG" => Ok(true),
        _ => Err(Fail::new(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, "send a PNG").into()),
    }
}

#[step(targets("files"))]
async fn store(req: &Req, known: &bool, fx: &Fx<'_>) -> Result<u16> {
    assert!(*known);
    Ok(fx.put("files:/new").pass(req).await?.status.as_u16())
}

#[step]
async fn stored(status: &u16) -> Result<Response> {
    Ok(Response::empty(*status))
}

#[flow("upload", body = "stream")]
async fn upload(req: &Req) -> Response {
    let known = sniff(req);
    #[retry(2)]
    let status = store(req, known);
    stored(status)
}

#[step(targets("files"))]
async fn look_far(req: &Req, fx: &Fx<'_>) -> Result<Response> {
    fx.peek(req, PEEK_MAX + 1).await?;
    Ok(Response::empty(200))
}
#[flow("look-far", body = "stream")]
async fn looking_far(req: &Req) -> Response {
    look_far(req)
}

#[step(targets("files"))]
async fn pass_twice(req: &Req, fx: &Fx<'_>) -> Result<Response> {
    fx.put("files:/one").pass(req).await?;
    fx.put("files:/two").pass(req).await?;
    Ok(Response::empty(200))
}
#[flow("pass-twice", body = "stream")]
async fn twice(req: &Req) -> Response {
    pass_twice(req)
}

fn image(body: &'static str) -> Req {
    let mut req = Req::new(Method::PUT, "/").with_header("content-type", "image/png");
    req.body = body.into();
    req
}

#[test]
fn it_is_looked_at_and_then_passed_on_as_a_whole() {
    let mut fake = Fake::new();
    fake.on("PUT files:/new").status(201);
    let done = fake.run(&upload(), image("PNG and more"));
    let call = &done.calls[0].call;
    assert_eq!((done.status(), &call.body[..]), (201, b"PNG and more".as_slice()));
    assert_eq!(call.headers["content-type"], "image/png", "it goes with what it is");
    let again = replay(&upload(), &done.journal);
    assert_eq!((again.drifts, again.done.status()), (Vec::new(), 201));
    let refused = fake.run(&upload(), image("GIF"));
    assert_eq!((refused.status(), refused.calls.len()), (415, 0));
    assert_eq!(fake.run(&upload(), image("P")).status(), 415, "shorter than what is looked at");
}

#[test]
fn what_is_gone_is_not_sent_again_and_nobody_looks_too_far() {
    let mut fake = Fake::new();
    fake.on("PUT files:/one").status(200);
    let done = fake.run(&twice(), image("PNG"));
    let fail = done.fail().expect("the second call cannot be made");
    assert_eq!((fail.code, done.calls.len()), ("bad_call", 1));
    assert!(fail.detail.as_ref().is_some_and(|detail| detail.contains("was passed on before")), "{fail:?}");
    let mut fake = Fake::new();
    fake.on("PUT files:/new").status(503);
    let done = fake.run(&upload(), image("PNG"));
    assert_eq!((done.status(), done.calls.len()), (502, 1), "a retry has nothing to send");
    let done = Fake::new().run(&looking_far(), image("PNG"));
    assert_eq!(done.fail().map(|fail| fail.code), Some("peek_too_long"));
}

/// Takes what is passed on, and keeps it.
#[derive(Default)]
struct Files(Mutex<Vec<Bytes>>);

impl Adapter for Files {
    fn http<'a>(
        &'a self,
        call: HttpCall,
        _: Traced<'a>,
    ) -> BoxFuture<'a, std::result::Result<HttpAnswer, EffectError>> {
        Box::pin(async move {
            let mut pieces = call.upload.as_ref().and_then(Upload::open).expect("the call has a body that is free");
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| EffectError::Broken(error.to_string()))?;
                self.0.lock().expect("nobody panics with it").push(piece);
            }
            Ok(HttpAnswer::default())
        })
    }

    fn has_target(&self, _: &str) -> bool {
        true
    }
}

/// Runs the flow while `send` plays the client, on a clock that stands still unless it is moved.
fn arriving<F: Future<Output = ()>>(
    send: impl FnOnce(zerver_flows::upload::UploadWriter, Clock) -> F,
) -> (FlowOutcome, Timeline, Vec<Bytes>) {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let (body, writer) = Upload::channel(None);
    let files = Arc::new(Files::default());
    let bound = upload().bind(recorder.names());
    let recording = recorder.start(clock.now(), None, true);
    let env = Env::new((*recording).clone(), Engine::new(Arc::clone(&files) as Arc<dyn Adapter>));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    let run = bound.run(Req::new(Method::PUT, "/").with_upload(body), env);
    let (outcome, ()) = runtime.block_on(async { join!(run, send(writer, clock.clone())) });
    recording.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
    let timeline = recorder.timelines().pop().expect("it was finished");
    timeline.check().expect("the timeline is sound");
    let files = std::mem::take(&mut *files.0.lock().expect("nobody panics with it"));
    (outcome, timeline, files)
}

#[test]
fn a_slow_client_is_what_its_steps_are_parked_for() {
    let (outcome, timeline, files) = arriving(|mut writer, clock| async move {
        for piece in ["P", "NG an", "d more"] {
            writer.wanted().await;
            clock.advance(Duration::from_millis(7));
            writer.push(piece.into());
        }
        writer.wanted().await;
        writer.end(Ok(()));
    });
    assert_eq!(outcome.result.map(|response| response.status.as_u16()).ok(), Some(200));
    assert_eq!(files, ["PNG an", "d more"], "what was looked at is one piece, what came later is as it came");
    let node = |name: &str, kind: NodeKind| {
        timeline.nodes.iter().find(|node| &*node.name == name && node.kind == kind).expect("the node is there")
    };
    let looking = node("request_body", NodeKind::Station);
    let read: u64 =
        looking.states.iter().filter(|state| state.cause == Cause::Read).map(|state| state.to_ns - state.from_ns).sum();
    assert_eq!((read, looking.parent), (14_000_000, Some(node("known", NodeKind::Step).id)));
    let call = node("files", NodeKind::Effect);
    let waited = call.attrs.iter().find(|(key, _)| &**key == "request_body_wait").map(|(_, value)| value);
    assert_eq!(waited, Some(&Value::Float(0.007)), "{call:?}");
}

#[test]
fn a_body_that_does_not_arrive_is_the_clients_doing() {
    for (how, status) in
        [(UploadError::TooLarge { limit: 3 }, 413), (UploadError::Timeout, 408), (UploadError::Broken, 400)]
    {
        for first in ["P", "PNG"] {
            let (outcome, ..) = arriving(|mut writer, _| async move {
                writer.wanted().await;
                writer.push(first.into());
                writer.wanted().await;
                writer.end(Err(how));
            });
            let fail = outcome.result.expect_err("the body did not arrive");
            assert_eq!(fail.status.as_u16(), status, "{first}: {fail:?}");
        }
    }
}
