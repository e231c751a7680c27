//! Where values live while a flow runs: locals of the flow's own future, written once.

use std::sync::OnceLock;

/// The value of a step, or of a branch of one.
#[derive(Debug)]
pub struct Slot<T>(OnceLock<T>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slot<T> {
    /// An empty slot.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Writes it; a slot has one writer, which writes once.
    pub fn put(&self, value: T) {
        let _ = self.0.set(value);
    }

    /// Its value. Only for nodes that wait for its writer.
    ///
    /// # Panics
    /// When it was not written; the driver starts no reader before.
    #[must_use]
    pub fn get(&self) -> &T {
        self.0.get().expect("the driver starts a node only when the slots it reads are written")
    }

    /// Its value, if its step was not skipped and did not fail.
    #[must_use]
    pub fn maybe(&self) -> Option<&T> {
        self.0.get()
    }

    /// Takes the value out.
    #[must_use]
    pub fn take(self) -> Option<T> {
        self.0.into_inner()
    }

    /// Takes out what the driver has made sure is there.
    ///
    /// # Panics
    /// When it was not written.
    #[must_use]
    pub fn taken(self) -> T {
        self.take().expect("the driver ends well only when every required slot is written")
    }
}

/// The values that were written, in the order of the branches.
#[must_use]
pub fn written<T, const N: usize>(slots: [Slot<T>; N]) -> Vec<T> {
    slots.into_iter().filter_map(Slot::take).collect()
}

/// The one value that was written.
///
/// # Panics
/// When none was: a join that takes one ends well only with it.
#[must_use]
pub fn only<T, const N: usize>(slots: [Slot<T>; N]) -> T {
    slots.into_iter().find_map(Slot::take).expect("a join for one value ends well only with it")
}
