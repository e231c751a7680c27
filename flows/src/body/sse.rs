//! Server-sent events: a stream that browsers read with `EventSource` (WHATWG HTML, section 9.2).

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use http::HeaderValue;
use http::header::{CACHE_CONTROL, HeaderName};
use serde::Serialize;

use crate::body::BodyWriter;
use crate::exit::{Fail, Result};
use crate::response::Response;

/// How long nothing may be sent before a comment is: proxies cut connections that are silent for longer, and the standard
/// advises "every 15 seconds or so".
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A comment and the blank line behind it: no client makes an event of it.
const COMMENT: &[u8] = b":\n\n";

/// Asks nginx, and who does as it does, not to hold events back.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

impl Response {
    /// An answer of server-sent events; otherwise as [`Response::stream`]. A client that comes again says in the header
    /// `last-event-id` which event it saw last.
    ///
    /// While the producer waits, a comment goes out every 15 s; see [`SseWriter::keep_alive`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use zerver_flows::{Event, Response, Result, step};
    ///
    /// #[step]
    /// async fn ticks() -> Result<Response> {
    ///     Ok(Response::sse(|mut events| async move {
    ///         for n in 1..=3 {
    ///             events.send(Event::new().id(n.to_string()).event("tick").data("tock")).await?;
    ///             events.pause(Duration::from_secs(1)).await;
    ///         }
    ///         Ok(())
    ///     }))
    /// }
    /// ```
    #[must_use]
    pub fn sse<P, F>(producer: P) -> Self
    where
        P: FnOnce(SseWriter) -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut response = Self::stream("text/event-stream", |out| {
            let events = SseWriter { out };
            events.keep_alive(Some(KEEP_ALIVE));
            producer(events)
        });
        response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        response
    }
}

/// Sends events.
#[derive(Debug)]
pub struct SseWriter {
    out: BodyWriter,
}

impl SseWriter {
    /// Sends an event and waits until the connection took it. Each event leaves at once.
    ///
    /// # Errors
    /// `bad_event` when a part of it cannot be written; and as [`BodyWriter::write`].
    ///
    /// # Cancel safety
    /// As [`BodyWriter::write`]; an event is sent whole or not at all.
    pub async fn send(&mut self, event: Event) -> Result<()> {
        self.out.write(event.lines()?).await
    }

    /// Sends a comment whenever nothing was sent for `every`; none stops that.
    pub fn keep_alive(&self, every: Option<Duration>) {
        self.out.when_quiet(every, COMMENT);
    }

    /// Waits for `time`; see [`BodyWriter::pause`].
    pub async fn pause(&self, time: Duration) {
        self.out.pause(time).await;
    }
}

/// One event. Without data and without a name it makes clients do nothing but remember its id and its retry time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    id: Option<String>,
    event: Option<String>,
    data: Option<String>,
    retry: Option<Duration>,
    comment: Option<String>,
    wrong: Option<String>,
}

impl Event {
    /// An empty event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the client says in `last-event-id` when it comes again; an empty one makes it say nothing. No line breaks and
    /// no U+0000.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Its name, what `addEventListener` takes; without one it is a `message`. No line breaks.
    #[must_use]
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.event = Some(name.into());
        self
    }

    /// What it says. Line breaks reach the client as U+000A, whichever they are.
    #[must_use]
    pub fn data(mut self, data: impl Into<String>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// What it says, as JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => self.data = Some(text),
            Err(error) => self.wrong = Some(format!("its data cannot be written as JSON: {error}")),
        }
        self
    }

    /// How long the client waits before it comes again after the connection broke, in whole milliseconds.
    #[must_use]
    pub fn retry(mut self, time: Duration) -> Self {
        self.retry = Some(time);
        self
    }

    /// A line for people who read along; clients skip it.
    #[must_use]
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }

    /// Its lines and the blank one behind them.
    fn lines(self) -> Result<String> {
        let bad = |what: String| Fail::internal("bad_event", what);
        if let Some(wrong) = self.wrong {
            return Err(bad(wrong).into());
        }
        let single = |field: &str, text: &str| {
            let sound = !text.contains(['\r', '\n']) && (field != "id" || !text.contains('\0'));
            if sound { Ok(()) } else { Err(bad(format!("its {field} holds a line break or U+0000: {text:?}"))) }
        };
        let mut out = String::with_capacity(64 + self.data.as_ref().map_or(0, String::len));
        for line in self.comment.iter().flat_map(|text| split(text)) {
            field(&mut out, "", line);
        }
        if let Some(id) = &self.id {
            single("id", id)?;
            field(&mut out, "id", id);
        }
        if let Some(name) = &self.event {
            single("event", name)?;
            field(&mut out, "event", name);
        }
        if let Some(time) = self.retry {
            field(&mut out, "retry", &time.as_millis().to_string());
        }
        // A named event without data would be dropped by every client.
        let data = self.data.or_else(|| self.event.map(|_| String::new()));
        for line in data.iter().flat_map(|text| split(text)) {
            field(&mut out, "data", line);
        }
        out.push('\n');
        Ok(out)
    }
}

/// `name: value`; the space keeps a value's own first space, because readers drop one.
fn field(out: &mut String, name: &str, value: &str) {
    // Writing into a text cannot fail.
    let _ = writeln!(out, "{name}: {value}");
}

/// The lines of a text; CR LF, LF and CR end one, as they do for readers of the stream.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\r', '\n']) else {
            rest = None;
            return Some(text);
        };
        let wide = text[end..].starts_with("\r\n");
        rest = Some(&text[end + 1 + usize::from(wide)..]);
        Some(&text[..end])
    })
}
