//! How long a run may take.

/// How long a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// A minute or two for each target that starts servers, seconds for the others.
    Full,
    /// A few seconds each: to see that it works, and for rough figures.
    Quick,
}
