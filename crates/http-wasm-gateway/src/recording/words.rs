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

    /// The replacement for a word. A number doesn't begin with a zero, which JSON doesn't allow.
    pub(super) fn word(&self, word: &[u8]) -> Vec<u8> {
        let first = word.iter().position(|byte| *byte != b'-');
        let mut masked = Vec::with_capacity(word.len());
        for (block, bytes) in word.chunks(32).enumerate() {
            for (byte, random) in bytes.iter().zip(self.random(block as u64, word)) {
                masked.push(match byte {
                    b'0'..=b'9' if Some(masked.len()) == first => b'1' + random % 9,
                    b'0'..=b'9' => b'0' + random % 10,
                    b'A'..=b'Z' => b'A' + random % 26,
                    b'-' | b'_' => *byte,
                    _ => b'a' + random % 26,
                });
            }
        }
        masked
    }

    /// The replacement for an escape sequence of a JSON string, which stands for a character of the same length in
    /// UTF-8. Those for punctuation and control characters stay.
    pub(super) fn escape(&self, escape: &[u8]) -> Vec<u8> {
        let digits = escape.strip_prefix(b"\\u").and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(code) = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) else {
            return escape.to_vec();
        };
        let [high, low, ..] = self.random(0, &code.to_be_bytes());
        let random = u16::from_be_bytes([high, low]);
        let masked = match (u8::try_from(code), code) {
            (Ok(byte), _) if byte.is_ascii_alphanumeric() => self.word(&[byte])[0].into(),
            (_, ..0x80) => return escape.to_vec(),
            (_, 0x80..0x800) => 0x100 + random % 0x400,
            // The halves of a character.
            (_, 0xd800..0xdc00) => 0xd800 + random % 0x400,
            (_, 0xdc00..0xe000) => 0xdc00 + random % 0x400,
            _ => 0x4e00 + random % 0x5000,
        };
        format!("\\u{masked:04x}").into_bytes()
    }

    fn random(&self, block: u64, word: &[u8]) -> [u8; 32] {
        let digest = Sha256::new().chain_update(self.key).chain_update(block.to_le_bytes());
        digest.chain_update(word).finalize().into()
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
    let parts = text.chunk_by(|a, b| is_word_byte(*a) == is_word_byte(*b));
    parts.map(|part| match part.first().is_some_and(|byte| is_word_byte(*byte)) {
        true => Part::Word(part),
        false => Part::Other(part),
    })
}

fn is_word_byte(byte: u8) -> bool {
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
    fn an_escape_sequence_is_replaced_with_one_for_a_character_of_the_same_length() {
        for key in 0..50 {
            let masks = Masks::new([key; 32]);
            for kept in [r"\n", r"\\", r"\u000a", r"\u0021"] {
                assert_eq!(masks.escape(kept.as_bytes()), kept.as_bytes());
            }
            for escape in [r"\u0041", r"\u00e4", r"\u07FF", r"\u4f60", r"\ud83d\ude00"] {
                let masked: Vec<_> = escape.as_bytes().chunks(6).flat_map(|its| masks.escape(its)).collect();
                let decoded = |json: &str| serde_json::from_str::<String>(&format!("\"{json}\"")).unwrap();
                let masked = String::from_utf8(masked).unwrap();
                assert_eq!(decoded(&masked).len(), decoded(escape).len(), "{masked}");
            }
        }
        assert_ne!(Masks::new([1; 32]).escape(br"\u4f60"), br"\u4f60");
    }

    #[test]
    fn a_text_consists_of_words_and_what_is_between_them() {
        let parts: Vec<_> = split(b"a-b: \xff1;").collect();
        let expected = [Part::Word(b"a-b"), Part::Other(b": "), Part::Word(b"\xff1"), Part::Other(b";")];
        assert_eq!(parts, expected);
    }
}
