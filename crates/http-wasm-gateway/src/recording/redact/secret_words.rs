//! The words of secrets, and where they occur.

use std::collections::{BTreeSet, HashSet};

use aho_corasick::{AhoCorasick, MatchKind};

use crate::recording::parts::{Kind, config_parts, header_parts, unescaped};
use crate::recording::words::{Part, split};

/// Words that occur in secrets, but also in much else. Lower case.
const COMMON: &[&str] = &[
    "authorization",
    "basic",
    "bearer",
    "digest",
    "negotiate",
    "cookie",
    "set-cookie",
    "proxy-authorization",
    "x-api-key",
    "true",
    "false",
    "none",
    "null",
    "http",
    "https",
    "json",
    "html",
    "text",
    "plain",
    "application",
    "gzip",
    "utf-8",
    "path",
    "domain",
    "expires",
    "max-age",
    "secure",
    "httponly",
    "samesite",
    "strict",
    "content",
    "content-type",
    "content-length",
    "accept",
    "host",
    "user-agent",
    "location",
    "keep-alive",
    "close",
    "chunked",
    "localhost",
    "header",
    "headers",
    "name",
    "value",
    "token",
    "info",
    "warn",
    "error",
    "debug",
];

/// The minimum length of a header's word that is searched for elsewhere.
const HEADER_WORD: usize = 6;
/// The minimum length of a word of the configuration or the environment that is searched for elsewhere.
const CONFIG_WORD: usize = 3;
/// The minimum length of a word, or part of one, that is also found within other words.
const INNER_WORD: usize = 5;

/// Words of secrets.
#[derive(Default)]
pub(super) struct Words(BTreeSet<Vec<u8>>);

impl Words {
    fn add(&mut self, text: &[u8], shortest: usize) {
        for part in split(text) {
            if let Part::Word(word) = part
                && word.len() >= shortest
                && !is_common(word)
            {
                // A guest may truncate a secret.
                let parts = word.split(|byte| matches!(byte, b'-' | b'_'));
                let long = parts.filter(|part| part.len() >= INNER_WORD && !is_common(part));
                self.0.extend(long.map(<[u8]>::to_vec));
                self.0.insert(word.to_vec());
            }
        }
    }

    /// Adds an entire secret.
    pub(super) fn add_whole(&mut self, text: &[u8]) {
        self.add(text, CONFIG_WORD);
    }

    pub(super) fn add_config(&mut self, config: &[u8]) {
        for (text, kind) in config_parts(config) {
            if kind == Kind::Secret {
                self.add(text, CONFIG_WORD);
            }
        }
        // The guest sees these strings without escape sequences.
        for string in unescaped(config) {
            self.add(string.as_bytes(), CONFIG_WORD);
        }
    }

    pub(super) fn add_header(&mut self, name: &[u8], values: &[u8]) {
        for (text, is_secret) in header_parts(name, values) {
            if is_secret {
                self.add(text, HEADER_WORD);
            }
        }
    }

    pub(super) fn into_finder(self) -> Finder {
        let (long, short): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|word| word.len() >= INNER_WORD);
        let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&long);
        Finder { long: built.ok().filter(|_| !long.is_empty()), short: short.into_iter().collect() }
    }
}

pub(super) fn is_common(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| COMMON.contains(&&*word.to_ascii_lowercase()))
}

/// Finds the words.
pub(super) struct Finder {
    pub(super) long: Option<AhoCorasick>,
    pub(super) short: HashSet<Vec<u8>>,
}

impl Finder {
    pub(super) fn contains_any(&self, text: &[u8]) -> bool {
        let is_short = |part| matches!(part, Part::Word(word) if self.short.contains(word));
        self.long.as_ref().is_some_and(|long| long.is_match(text))
            || !self.short.is_empty() && split(text).any(is_short)
    }
}
