//! Logs as data and as lines: records, the access log made from timelines, and writers that nobody waits for.
//!
//! What is logged is an [`Entry`] that is handed to [`Sink`]s. A [`Writer`] is the sink for a file or a standard stream; one
//! that sends records to a collector takes the same entries ([`Entry::records`]).

mod record;
mod when;
mod line;
mod access;
mod steps;
mod entry;
mod target;
mod writer;
mod follower;

pub use access::{FIELDS, Field, Form as AccessForm, Only, record as access_record};
pub use entry::{Entry, Log, Sink};
pub use follower::{Choice, Follower};
pub use line::Form as RecordForm;
pub use record::{Record, Severity};
pub use steps::SCOPE as STEPS_SCOPE;
pub use target::Target;
pub use writer::{Counts, Forms, Writer, WriterSettings};
