//! Timelines in few bytes: what the store keeps of them, and what a recording is made of.
//!
//! [`pack`] and [`unpack`] are exact: what comes out equals what went in, field by field, floating-point numbers to the bit.
//! Any [`Timeline`](crate::timeline::Timeline) can be packed; those that hold the rules of
//! [`Timeline::check`](crate::timeline::Timeline::check) take the fewest bytes, because a state begins where the one before
//! ended and a node ends with its last state. Names are numbers in a [`Dictionary`], times are differences, and the spans
//! of a gateway follow from the request's own.
//!
//! The form is documented in `docs/timeline.md`.

mod form;
mod bytes;
mod dictionary;
mod writing;
mod reading;
mod words;

pub use bytes::UnpackError;
pub use dictionary::Dictionary;
pub use form::{PARTS_MAX, VERSION};
pub use reading::unpack;
pub(crate) use words::{read_words, write_words};
pub(crate) use writing::fits;
pub use writing::pack;

#[cfg(test)]
mod tests;
