//! Words of a dictionary as bytes, so that who reads packed timelines elsewhere has them too.

use std::sync::Arc;

use super::bytes::{Input, UnpackError, put, put_text};
use super::dictionary::Dictionary;

/// Writes the words from the `first`-th on behind what `out` holds: the number of the first, then each.
pub(crate) fn write_words(words: &[Arc<str>], first: usize, out: &mut Vec<u8>) {
    put(out, first as u64);
    for word in words.iter().skip(first) {
        put_text(out, word);
    }
}

/// Reads words behind those that are known. Where some between were lost they read `(lost)`.
///
/// # Errors
/// When these are no words, or more than a dictionary holds.
pub(crate) fn read_words(bytes: &[u8], words: &mut Vec<Arc<str>>) -> Result<(), UnpackError> {
    let mut input = Input::new(bytes);
    let first = usize::try_from(input.number()?).ok().filter(|first| *first <= Dictionary::WORDS_MAX);
    let first = first.ok_or_else(|| input.wrong("more words than a dictionary holds"))?;
    if first < words.len() {
        return Err(input.wrong("words that were there already"));
    }
    if first > words.len() {
        words.resize(first, Arc::from("(lost)"));
    }
    let mut room = Dictionary::BYTES_MAX.saturating_sub(words.iter().map(|word| word.len()).sum());
    while input.left() > 0 {
        let word = input.text()?;
        if words.len() == Dictionary::WORDS_MAX || word.len() > room.min(Dictionary::WORD_MAX) {
            return Err(input.wrong("more words than a dictionary holds"));
        }
        room -= word.len();
        words.push(word.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[&str]) -> Vec<Arc<str>> {
        words.iter().map(|word| Arc::from(*word)).collect()
    }

    #[test]
    fn words_are_read_behind_those_that_are_known() {
        let all = texts(&["a", "", "café"]);
        let (mut first, mut rest, mut read) = (Vec::new(), Vec::new(), Vec::new());
        write_words(&all[..1], 0, &mut first);
        write_words(&all, 1, &mut rest);
        read_words(&first, &mut read).expect("they are words");
        read_words(&rest, &mut read).expect("they are words");
        assert_eq!(read, all);
        assert!(read_words(&rest, &mut read).is_err(), "the same ones again");
        let mut read = Vec::new();
        read_words(&rest, &mut read).expect("they are words");
        assert_eq!(read, texts(&["(lost)", "", "café"]));
    }

    #[test]
    fn what_no_dictionary_holds_is_refused() {
        for bytes in [&[][..], &[0, 5, b'a'], &[0, 1, 0xff], &[0xff, 0xff, 0xff, 0x7f]] {
            assert!(read_words(bytes, &mut Vec::new()).is_err(), "{bytes:?}");
        }
        let mut long = Vec::new();
        write_words(&texts(&[&"x".repeat(Dictionary::WORD_MAX + 1)]), 0, &mut long);
        assert!(read_words(&long, &mut Vec::new()).is_err());
        let mut many = Vec::new();
        write_words(&vec![Arc::from(""); Dictionary::WORDS_MAX + 1], 0, &mut many);
        assert!(read_words(&many, &mut Vec::new()).is_err());
    }
}
