//! JSON that is written piece by piece: an array or an object that is never whole in memory.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use crate::body::BodyWriter;
use crate::exit::{Exit, Fail, Result};
use crate::response::Response;

/// Arrays and objects inside one another, at most: more than readers take, and a bound on what a loop can open.
const DEPTH_MAX: usize = 128;

impl Response {
    /// A JSON answer with status 200, written piece by piece; otherwise as [`Response::stream`].
    ///
    /// Exactly one value must be written. What is open when the producer ends is a failure, and the connection breaks off:
    /// half an array is never taken for one.
    ///
    /// ```
    /// use zerver_flows::{Response, Result, step};
    ///
    /// #[step]
    /// async fn respond(orders: &Vec<u32>) -> Result<Response> {
    ///     let orders = orders.clone();
    ///     Ok(Response::json_stream(|mut json| async move {
    ///         json.begin_array().await?;
    ///         for order in &orders {
    ///             json.value(order).await?;
    ///         }
    ///         json.end().await
    ///     }))
    /// }
    /// ```
    #[must_use]
    pub fn json_stream<P, F>(producer: P) -> Self
    where
        P: FnOnce(JsonWriter) -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self::stream("application/json", |out| {
            let whole = Arc::new(AtomicBool::new(false));
            let json = JsonWriter { out, open: Vec::new(), whole: Arc::clone(&whole) };
            let producer = producer(json);
            async move {
                producer.await?;
                let wrong = "the producer ended before its JSON value did; call `end` for each `begin_…`";
                if whole.load(Relaxed) { Ok(()) } else { Err(nesting(wrong)) }
            }
        })
    }
}

/// Writes one JSON value, part by part. Small parts gather until there are about 8 KiB, or until the producer waits for
/// something: what is ready is never held back for what is not.
///
/// Each method fails with `json_nesting`, and says what is wrong, where JSON has no place for what it would write; and as
/// [`BodyWriter::write`] does.
#[derive(Debug)]
pub struct JsonWriter {
    out: BodyWriter,
    /// The arrays and objects that are open, the innermost last.
    open: Vec<Open>,
    /// The one value is written.
    whole: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Array {
        empty: bool,
    },
    Object {
        empty: bool,
    },
    /// An object whose last key has no value yet.
    Key,
}

impl JsonWriter {
    /// Opens an array.
    ///
    /// # Errors
    /// See [`JsonWriter`].
    pub async fn begin_array(&mut self) -> Result<()> {
        self.begin("an array", b'[', Open::Array { empty: true }).await
    }

    /// Opens an object.
    ///
    /// # Errors
    /// See [`JsonWriter`].
    pub async fn begin_object(&mut self) -> Result<()> {
        self.begin("an object", b'{', Open::Object { empty: true }).await
    }

    /// Writes a key of the object that is open; its value comes next.
    ///
    /// # Errors
    /// See [`JsonWriter`].
    pub async fn key(&mut self, key: &str) -> Result<()> {
        let empty = match self.open.last() {
            Some(Open::Object { empty }) => *empty,
            Some(Open::Key) => {
                return Err(nesting(format!("key `{key}` stands where the value of the last key is due")));
            }
            Some(Open::Array { .. }) => {
                return Err(nesting(format!("key `{key}` stands in an array; keys are for objects")));
            }
            None => {
                return Err(nesting(format!("key `{key}` stands outside of any object; call `begin_object` first")));
            }
        };
        self.out
            .gather(|bytes| {
                if !empty {
                    bytes.put_u8(b',');
                }
                append(bytes, key)?;
                bytes.put_u8(b':');
                Ok(())
            })
            .await?;
        self.inner(Open::Key);
        Ok(())
    }

    /// Writes a whole value: an item of the open array, or the value of the last key.
    ///
    /// # Errors
    /// See [`JsonWriter`]; `answer_not_json` when `value` cannot be written as JSON (a map with keys that are not text).
    pub async fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let comma = self.due("a value")?;
        self.out
            .gather(|bytes| {
                if comma {
                    bytes.put_u8(b',');
                }
                append(bytes, value)
            })
            .await?;
        self.written().await
    }

    /// Writes a key and its value.
    ///
    /// # Errors
    /// As [`JsonWriter::key`] and [`JsonWriter::value`].
    pub async fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<()> {
        self.key(key).await?;
        self.value(value).await
    }

    /// Closes the innermost array or object that is open.
    ///
    /// # Errors
    /// See [`JsonWriter`].
    pub async fn end(&mut self) -> Result<()> {
        let mark = match self.open.last() {
            Some(Open::Array { .. }) => b']',
            Some(Open::Object { .. }) => b'}',
            Some(Open::Key) => return Err(nesting("`end` stands where the value of the last key is due")),
            None => return Err(nesting("`end` closes nothing: no array and no object is open")),
        };
        self.out
            .gather(|bytes| {
                bytes.put_u8(mark);
                Ok(())
            })
            .await?;
        self.open.pop();
        self.written().await
    }

    /// Sends what has gathered, and waits until the connection took it.
    ///
    /// # Errors
    /// As [`BodyWriter::write`].
    pub async fn flush(&mut self) -> Result<()> {
        self.out.flush().await
    }

    /// Waits for `time`; see [`BodyWriter::pause`].
    pub async fn pause(&self, time: Duration) {
        self.out.pause(time).await;
    }

    async fn begin(&mut self, what: &str, mark: u8, open: Open) -> Result<()> {
        let comma = self.due(what)?;
        if self.open.len() == DEPTH_MAX {
            return Err(nesting(format!("{what} would be open inside {DEPTH_MAX} others")));
        }
        self.out
            .gather(|bytes| {
                if comma {
                    bytes.put_u8(b',');
                }
                bytes.put_u8(mark);
                Ok(())
            })
            .await?;
        self.open.push(open);
        Ok(())
    }

    /// Whether a value has its place here, and whether a comma stands before it.
    fn due(&self, what: &str) -> Result<bool> {
        match self.open.last() {
            Some(Open::Array { empty }) => Ok(!empty),
            Some(Open::Key) => Ok(false),
            Some(Open::Object { .. }) => {
                Err(nesting(format!("{what} stands in an object without a key; call `key` first")))
            }
            None if self.whole.load(Relaxed) => {
                Err(nesting(format!("{what} stands behind the end of the whole value")))
            }
            None => Ok(false),
        }
    }

    /// A value is complete.
    async fn written(&mut self) -> Result<()> {
        match self.open.last() {
            Some(Open::Array { .. }) => self.inner(Open::Array { empty: false }),
            Some(_) => self.inner(Open::Object { empty: false }),
            None => {
                self.whole.store(true, Relaxed);
                self.out.flush().await?;
            }
        }
        Ok(())
    }

    fn inner(&mut self, now: Open) {
        if let Some(open) = self.open.last_mut() {
            *open = now;
        }
    }
}

fn append<T: Serialize + ?Sized>(bytes: &mut BytesMut, value: &T) -> Result<()> {
    serde_json::to_writer(bytes.writer(), value)
        .map_err(|error| Fail::internal("answer_not_json", error.to_string()).into())
}

fn nesting(wrong: impl Into<String>) -> Exit {
    Fail::internal("json_nesting", wrong).into()
}
