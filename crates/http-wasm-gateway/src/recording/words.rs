//! Replaces words with others of the same length.

use sha2::{Digest as _, Sha256};

/// Replaces words with others of the same length and kind. The same word always has the same replacement, so equal
/// words stay equal. The key is discarded once the file has been written.
pub(super) struct Masks {
    key: [u8; 32],
}

impl Masks {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The replacement for a word.
    pub(super) fn word(&self, word: &[u8]) -> Vec<u8> {
        let mut masked = Vec::with_capacity(word.len());
        for (block, bytes) in word.chunks(32).enumerate() {
            let digest = Sha256::new().chain_update(self.key).chain_update((block as u64).to_le_bytes());
            let digest = digest.chain_update(word).finalize();
            masked.extend(bytes.iter().zip(digest).map(|(byte, random)| match byte {
                b'0'..=b'9' => b'0' + random % 10,
                b'A'..=b'Z' => b'A' + random % 26,
                b'-' | b'_' => *byte,
                _ => b'a' + random % 26,
            }));
        }
        masked
    }
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Word(&'a [u8]),
    Other(&'a [u8]),
}

/// The words of a text, and the bytes between them.
pub(super) fn split(text: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let parts = text.chunk_by(|a, b| is_of_word(*a) == is_of_word(*b));
    parts.map(|part| match part.first().is_some_and(|byte| is_of_word(*byte)) {
        true => Part::Word(part),
        false => Part::Other(part),
    })
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_always_replaced_with_the_same_word_of_its_length_and_kind() {
        let masks = Masks::new([1; 32]);
        let masked = masks.word(b"aB3-xyz");
        assert_eq!((masked.len(), masked[3]), (7, b'-'));
        assert!(
            masked[0].is_ascii_lowercase() && masked[1].is_ascii_uppercase() && masked[2].is_ascii_digit()
        );
        assert_ne!(masked, b"aB3-xyz");
        assert_eq!(masked, masks.word(b"aB3-xyz"));
        assert_ne!(masked, Masks::new([2; 32]).word(b"aB3-xyz"));
        assert_eq!(masks.word(&[b'x'; 100]).len(), 100);
    }

    #[test]
    fn a_text_consists_of_words_and_what_is_between_them() {
        let parts: Vec<_> = split(b"a-b: \xff1;").collect();
        let expected = [Part::Word(b"a-b"), Part::Other(b": "), Part::Word(b"\xff1"), Part::Other(b";")];
        assert_eq!(parts, expected);
    }
}
