//! Scratch memory of one request: taken piece by piece from a few chunks, and given back all at once at its end.
//!
//! Texts and lists that live as long as the flow cost a pointer's move each instead of an allocation. What is made here is
//! never dropped piece by piece, so it takes only what needs no drop.

use std::fmt::{self, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bumpalo_herd::Herd;

use crate::exit::{Fail, Result};

/// The most scratch memory that one request may take, in bytes.
pub const SCRATCH_MAX: usize = 1 << 20;

/// The scratch memory of one request. Nothing is allocated before its first use.
#[derive(Default)]
pub(crate) struct Arena {
    herd: OnceLock<Herd>,
    used: AtomicUsize,
}

impl Arena {
    /// Bytes that were taken. Nothing is given back before the end, so this is the peak as well.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Takes `bytes` off what is left.
    fn reserve(&self, bytes: usize) -> Result<&Herd> {
        let take = |used: usize| used.checked_add(bytes).filter(|used| *used <= SCRATCH_MAX);
        if self.used.fetch_update(Relaxed, Relaxed, take).is_err() {
            let detail =
                format!("the request has used its {SCRATCH_MAX} bytes of scratch memory; keep large values in slots");
            return Err(Fail::internal("scratch_full", detail).into());
        }
        Ok(self.herd.get_or_init(Herd::new))
    }
}

/// A step's hand on the request's scratch memory; see [`Fx::scratch`](crate::Fx::scratch).
#[derive(Clone, Copy)]
pub struct Scratch<'r>(pub(crate) &'r Arena);

impl<'r> Scratch<'r> {
    /// A copy of a text.
    ///
    /// # Errors
    /// `scratch_full` beyond [`SCRATCH_MAX`].
    pub fn text(self, text: &str) -> Result<&'r str> {
        Ok(self.0.reserve(text.len())?.get().alloc_str(text))
    }

    /// A formatted text: `fx.scratch().format(format_args!("{a}/{b}"))`. It is formatted twice, to know its length first.
    ///
    /// # Errors
    /// As [`Scratch::text`].
    pub fn format(self, args: fmt::Arguments<'_>) -> Result<&'r str> {
        if let Some(text) = args.as_str() {
            return self.text(text);
        }
        let mut length = Length(0);
        // A counter takes everything.
        let _ = length.write_fmt(args);
        let bytes = self.0.reserve(length.0)?.get().alloc_slice_fill_copy(length.0, 0_u8);
        let mut cursor = Cursor { bytes, at: 0 };
        let whole = cursor.write_fmt(args).is_ok();
        let Cursor { bytes, at } = cursor;
        let text = std::str::from_utf8(&bytes[..at]).ok().filter(|_| whole);
        text.ok_or_else(|| Fail::internal("step_error", "a value writes itself differently each time").into())
    }

    /// A copy of some bytes.
    ///
    /// # Errors
    /// As [`Scratch::text`].
    pub fn bytes(self, bytes: &[u8]) -> Result<&'r [u8]> {
        Ok(self.0.reserve(bytes.len())?.get().alloc_slice_copy(bytes))
    }

    /// A list of plain values.
    ///
    /// # Errors
    /// As [`Scratch::text`].
    pub fn list<T: Copy + Send>(self, items: &[T]) -> Result<&'r [T]> {
        Ok(self.0.reserve(size_of_val(items))?.get().alloc_slice_copy(items))
    }
}

/// Counts what is written.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Writes into room of a known length.
struct Cursor<'b> {
    bytes: &'b mut [u8],
    at: usize,
}

impl fmt::Write for Cursor<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.at + text.len();
        self.bytes.get_mut(self.at..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.at = end;
        Ok(())
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("used", &self.used()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scratch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scratch").field(self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_taken_lives_together_and_is_counted() {
        let arena = Arena::default();
        assert!(arena.herd.get().is_none(), "nothing before the first use");
        let scratch = Scratch(&arena);
        let a = scratch.text("seven").unwrap();
        let b = scratch.format(format_args!("{}-{a}", 7)).unwrap();
        let c = scratch.bytes(b"xyz").unwrap();
        let d = scratch.list(&[1_u64, 2]).unwrap();
        assert_eq!((a, b, c, d), ("seven", "7-seven", &b"xyz"[..], &[1, 2][..]));
        assert_eq!(arena.used(), 5 + 7 + 3 + 16);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let arena = Arena::default();
        let scratch = Scratch(&arena);
        assert!(scratch.bytes(&vec![0; SCRATCH_MAX]).is_ok());
        assert!(matches!(scratch.text("x"), Err(crate::Exit::Fail(fail)) if fail.code == "scratch_full"));
        assert!(scratch.text("").is_ok());
    }

    #[test]
    fn a_value_that_changes_while_it_is_written_does_no_harm() {
        struct Growing(Cell<usize>);
        impl fmt::Display for Growing {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.set(self.0.get() + 1);
                (0..self.0.get()).try_for_each(|_| f.write_str("ü"))
            }
        }
        let arena = Arena::default();
        let value = Growing(Cell::new(0));
        assert!(Scratch(&arena).format(format_args!("{value}")).is_err());
    }
}
