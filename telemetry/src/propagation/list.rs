//! A header that is a list of members: what `tracestate` and `baggage` have in common.

/// The members of a list that go on, as one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// They, with commas between them.
    pub text: String,
    /// How many do not.
    pub lost: u32,
}

/// The members of a comma-separated header that has these fields, without the white space around them; empty ones do not
/// count.
pub(super) fn members<'h>(fields: impl IntoIterator<Item = &'h [u8]>) -> impl Iterator<Item = &'h [u8]> {
    let trim = |mut piece: &'h [u8]| {
        while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = piece {
            piece = rest;
        }
        piece
    };
    let pieces = fields.into_iter().flat_map(|field| field.split(|byte| *byte == b','));
    pieces.map(trim).filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_all_fields_are_one_list() {
        let found: Vec<&[u8]> = members([&b" a=1 ,\t, b = 2"[..], b"", b"\x00,c"]).collect();
        assert_eq!(found, [&b"a=1"[..], b"b = 2", b"\x00", b"c"]);
    }
}
