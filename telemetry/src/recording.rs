//! Recordings: timelines in a file, to be opened elsewhere or later.
//!
//! The first line is a header: `{"zrec":2,"zerver":"0.1.0","gateway":"gw-1","written_unix_ns":…}`. In form 2 frames follow
//! it, which hold packed timelines and the words that they use; in form 1 lines, each a timeline as JSON. The forms are
//! documented in `docs/timeline.md`.

mod header;
mod frame;
mod writing;
mod reading;

pub use header::{FORM, FORM_LINES, Header};
pub use reading::{ReadError, Reader};
pub use writing::Writer;

#[cfg(test)]
mod tests;
