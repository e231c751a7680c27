//! The script of a fake world: which calls get which answers, and when.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;

use crate::adapter::{EffectError, HttpAnswer, HttpCall, Traced};
use crate::exit::Result;
use crate::flow::BoundFlow;
use crate::journal::line;
use crate::run::{Place, Runnable, Shell};
use crate::upload::Upload;
use crate::virtual_time::VirtualTime;

/// What a call gets; see [`Fake::on`](super::Fake::on).
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) begins: String,
    takes: Duration,
    times: Option<u32>,
    answer: Scripted,
}

#[derive(Clone, Debug)]
enum Scripted {
    Answer(HttpAnswer),
    Error(EffectError),
    Never,
}

impl Rule {
    /// Answers calls that begin so, at once, with status 200 and no body.
    pub(super) fn new(begins: &str) -> Self {
        Self {
            begins: begins.to_owned(),
            takes: Duration::ZERO,
            times: None,
            answer: Scripted::Answer(HttpAnswer::default()),
        }
    }

    /// How long the answer takes.
    pub fn takes(&mut self, time: Duration) -> &mut Self {
        self.takes = time;
        self
    }

    /// Holds for this many calls; later ones go to the rules below it.
    pub fn times(&mut self, times: u32) -> &mut Self {
        self.times = Some(times);
        self
    }

    fn answer(&mut self) -> &mut HttpAnswer {
        if !matches!(self.answer, Scripted::Answer(_)) {
            self.answer = Scripted::Answer(HttpAnswer::default());
        }
        match &mut self.answer {
            Scripted::Answer(answer) => answer,
            _ => unreachable!("just made one"),
        }
    }

    /// Answers with this status. A number that is no status becomes 500.
    pub fn status(&mut self, status: u16) -> &mut Self {
        self.answer().status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self
    }

    /// Answers with this body, as JSON.
    ///
    /// # Panics
    /// When `value` cannot be written as JSON: the test's own mistake.
    pub fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> &mut Self {
        let body = serde_json::to_vec(value).expect("a scripted body can be written as JSON");
        let answer = self.answer();
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer.body = body.into();
        self
    }

    /// Answers with this body.
    pub fn body(&mut self, body: impl Into<Bytes>) -> &mut Self {
        self.answer().body = body.into();
        self
    }

    /// Answers with this header.
    ///
    /// # Panics
    /// When HTTP does not allow it: the test's own mistake.
    pub fn header(&mut self, name: &str, value: &str) -> &mut Self {
        let name: HeaderName = name.parse().expect("a scripted header has a name that HTTP allows");
        let value = HeaderValue::from_str(value).expect("a scripted header has a value that HTTP allows");
        self.answer().headers.insert(name, value);
        self
    }

    /// Gives no answer but this error.
    pub fn error(&mut self, error: EffectError) -> &mut Self {
        self.answer = Scripted::Error(error);
        self
    }

    /// Never answers.
    pub fn never(&mut self) -> &mut Self {
        self.answer = Scripted::Never;
        self
    }
}

/// A world that answers by its rules, in virtual time.
pub(super) struct World {
    pub(super) flows: Vec<BoundFlow>,
    pub(super) time: Arc<VirtualTime>,
    pub(super) rules: Mutex<Vec<Rule>>,
    pub(super) calls: Arc<Mutex<Vec<Called>>>,
}

impl Shell for World {
    fn flow(&self, slug: &str) -> Option<Arc<dyn Runnable>> {
        let flow = self.flows.iter().find(|flow| flow.flow().slug() == slug)?;
        Some(Arc::new(flow.clone()))
    }

    fn timer(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.time.timer(wait)
    }

    fn http<'a>(
        &'a self,
        place: Place<'_>,
        call: HttpCall,
        _: Traced<'a>,
    ) -> BoxFuture<'a, Result<HttpAnswer, EffectError>> {
        let asked = line(&call);
        let mut rules = self.rules.lock();
        let found = rules.iter_mut().find(|rule| asked.starts_with(&rule.begins) && rule.times != Some(0));
        let (takes, answer) = match found {
            Some(rule) => {
                rule.times = rule.times.map(|left| left - 1);
                (rule.takes, rule.answer.clone())
            }
            None => {
                let known: Vec<&str> = rules.iter().map(|rule| rule.begins.as_str()).collect();
                let text = format!("no rule of the fake matches `{asked}`; there are rules for {known:?}");
                (Duration::ZERO, Scripted::Error(EffectError::BadCall(text)))
            }
        };
        let pieces = call.upload.as_ref().and_then(Upload::open);
        let number = {
            let mut calls = self.calls.lock();
            calls.push(Called { step: place.key().slot.to_string(), line: asked, call });
            calls.len() - 1
        };
        let timer = self.time.timer(takes);
        Box::pin(async move {
            if let Some(mut pieces) = pieces {
                while let Some(piece) = pieces.next().await {
                    let piece = piece.map_err(|error| EffectError::Broken(error.to_string()))?;
                    let call = &mut self.calls.lock()[number].call;
                    call.body = [&call.body[..], &piece[..]].concat().into();
                }
            }
            timer.await;
            match answer {
                Scripted::Answer(answer) => Ok(answer),
                Scripted::Error(error) => Err(error),
                Scripted::Never => std::future::pending().await,
            }
        })
    }
}

/// A call that was made.
#[derive(Clone, Debug)]
pub struct Called {
    /// The step that made it.
    pub step: String,
    /// `GET cart:/v1/carts/7`.
    pub line: String,
    /// All of it; what was passed on of the request's body is its body.
    pub call: HttpCall,
}
