//! How servers behind the gateway may interpret an unusual path.
//!
//! Each reading is a normalised path, so that a route can be selected for it.

use crate::path::{Split, Unit, decode, decode_all, join, units};

/// How often a path is decoded: chained servers may each decode it once.
const ROUNDS: usize = 3;

/// The maximum size of all readings of a path together, in bytes. Short paths never reach it, whatever they contain.
const MAX_WORK: usize = 256 * 1024;

/// Whether `%2f`, `%5c` and `\` may separate segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slashes {
    Separate,
    /// The upstream treats them as ordinary characters.
    Ordinary,
}

/// Why a path is rejected, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AmbiguousPath(pub(crate) &'static str);

impl AmbiguousPath {
    pub(super) const ABOVE_ROOT: Self = Self("the path climbs above the root");
}

/// How common a reading is, which determines whether it is acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likelihood {
    /// Common servers read the path like this, so it must select the same route.
    Common,
    /// Some servers read the path like this, so it must not bypass a guest.
    Rare,
}

/// Rejects a path with a segment that is `.` or `..` for some servers, but not as it was sent. `%2e` is the same as `.`
/// for all of them (RFC 3986 section 6.2.2.2).
pub(super) fn check_hidden_dots(path: &str, slashes: Slashes) -> Result<(), AmbiguousPath> {
    let is_dot = |piece: &[u8]| {
        let end = piece.iter().position(|byte| matches!(byte, b';' | 0)).unwrap_or(piece.len());
        let is_blank = |byte: &u8| *byte <= b' ';
        let start = piece.iter().position(|byte| !is_blank(byte)).unwrap_or(end).min(end);
        let end = piece[..end].iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
        matches!(&piece[start..end], b"." | b"..")
    };
    for segment in path.as_bytes().split(|&byte| byte == b'/') {
        if !segment.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';')) {
            continue;
        }
        if matches!(&decode(segment)[..], b"." | b"..") {
            continue;
        }
        let hides = rounds(segment).iter().any(|text| match slashes {
            Slashes::Separate => text.split(|byte| matches!(byte, b'/' | b'\\')).any(is_dot),
            Slashes::Ordinary => is_dot(text),
        });
        if hides {
            return Err(AmbiguousPath("a dot segment appears only after decoding"));
        }
    }
    Ok(())
}

/// Whether the path contains a backslash, or a slash or backslash that is encoded once or more.
pub(super) fn has_escaped_slash(path: &str) -> bool {
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    path.as_bytes()
        .split(|&byte| byte == b'/')
        .any(|name| rounds(name).iter().any(|text| text.iter().any(is_slash)))
}

/// The path with slashes in place of slashes and backslashes that are encoded once, and without dot segments and empty
/// segments. `None` if there is no such slash, or the path leads above the root. The rest stays as it was sent.
pub(super) fn decode_slashes(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut has_slash = false;
    let mut rest = path.as_bytes();
    for unit in units(path.as_bytes()) {
        let len = if matches!(unit, Unit::Plain(_)) { 1 } else { 3 };
        match unit {
            Unit::Encoded(b'/' | b'\\') | Unit::Plain(b'\\') => {
                has_slash = true;
                decoded.push(b'/');
            }
            Unit::Encoded(b'.') => decoded.push(b'.'),
            _ => decoded.extend_from_slice(&rest[..len]),
        }
        rest = &rest[len..];
    }
    if !has_slash {
        return None;
    }
    join(&decoded, Split::AS_SENT)
}

/// Passes each reading of a path, except the path as sent, to `accept`, until that rejects one.
pub(super) fn check(
    path: &str,
    slashes: Slashes,
    mut accept: impl FnMut(Likelihood, &str) -> Result<(), AmbiguousPath>,
) -> Result<(), AmbiguousPath> {
    let texts = texts(path.as_bytes(), slashes);
    let variants = Variants::of(&texts, slashes);
    // Which segment a dot segment removes depends on the order of processing.
    if variants.has(Variants::UNRESOLVED)
        && (variants.has(Variants::CUT)
            || rounds(path.as_bytes()).len() > 1
            || slashes == Slashes::Separate && has_escaped_slash(path))
    {
        return Err(AmbiguousPath("a dot segment is combined with other ambiguous parts"));
    }
    if texts.len().saturating_mul(variants.count()).saturating_mul(path.len()) > MAX_WORK {
        return Err(AmbiguousPath("the path has too many readings"));
    }
    for (index, (likely, text)) in texts.iter().enumerate() {
        for variant in variants.each() {
            if (index, variant) == (0, Variants::NONE) {
                continue;
            }
            let text = match text.iter().position(|&byte| byte == 0) {
                Some(end) if variant.has(Variants::CUT) => &text[..end],
                _ => text,
            };
            let reading = join(text, variant.split()).ok_or(AmbiguousPath::ABOVE_ROOT)?;
            accept(if variant.is_rare() { Likelihood::Rare } else { *likely }, &reading)?;
        }
    }
    Ok(())
}

/// The path decoded any number of times from zero up, until it no longer changes. In each result, literal percent signs
/// are encoded, and so are slashes within a name, so that all results can be read in the same way.
fn texts(path: &[u8], slashes: Slashes) -> Vec<(Likelihood, Vec<u8>)> {
    let mut texts = Vec::new();
    let mut add = |path: &[u8], likely: Likelihood| {
        let decoded = all_rounds(path, slashes).into_iter().enumerate();
        let decoded = decoded.map(|(round, text)| (if round == 0 { likely } else { Likelihood::Rare }, text));
        for (likely, text) in std::iter::once((likely, decode(path))).chain(decoded) {
            if texts.iter().all(|(_, other)| *other != text) {
                texts.push((likely, text));
            }
        }
    };
    add(path, Likelihood::Common);
    let has = |byte: u8| path.contains(&byte);
    if has(b'%') && has(b'\\') && slashes == Slashes::Separate {
        // The URL standard treats a backslash as a slash, but not an encoded backslash.
        let path: Vec<_> = path.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect();
        add(&path, Likelihood::Common);
    }
    if has(b'%') && has(b';') {
        // If parameters are removed before decoding, whatever is encoded in them is removed too.
        add(&without_params(path), Likelihood::Rare);
    }
    texts
}

fn all_rounds(path: &[u8], slashes: Slashes) -> Vec<Vec<u8>> {
    if slashes == Slashes::Separate {
        return rounds(path).iter().map(|text| escaped(text, false)).collect();
    }
    let names: Vec<_> = path.split(|&byte| byte == b'/').map(rounds).collect();
    let most = names.iter().map(Vec::len).max().unwrap_or(0);
    let round = |round: usize| {
        let name = |rounds: &Vec<Vec<u8>>| escaped(&rounds[round.min(rounds.len() - 1)], true);
        names.iter().map(name).collect::<Vec<_>>().join(&b'/')
    };
    (0..most).map(round).collect()
}

/// The text decoded once, twice and so on, until it no longer changes.
fn rounds(text: &[u8]) -> Vec<Vec<u8>> {
    let mut rounds = vec![decode_all(text)];
    while let Some(last) = rounds.last().filter(|last| rounds.len() < ROUNDS && last.contains(&b'%')) {
        let next = decode_all(last);
        if next == *last {
            break;
        }
        rounds.push(next);
    }
    rounds
}

/// Encodes percent signs, and slashes that are part of a name.
fn escaped(text: &[u8], slashes: bool) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'%' => escaped.extend_from_slice(b"%25"),
            b'/' if slashes => escaped.extend_from_slice(b"%2F"),
            other => escaped.push(*other),
        }
    }
    escaped
}

fn without_params(path: &[u8]) -> Vec<u8> {
    let mut in_params = false;
    let keeps = |byte: &u8| {
        in_params = *byte != b'/' && (in_params || *byte == b';');
        !in_params
    };
    path.iter().copied().filter(keeps).collect()
}

/// Behaviour that differs between servers, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variants(u8);

impl Variants {
    const NONE: Self = Self(0);
    /// A NUL ends the path.
    const CUT: Self = Self(1);
    /// A backslash separates segments.
    const BACKSLASH: Self = Self(2);
    /// Parameters of segments are ignored.
    const NO_PARAMS: Self = Self(4);
    /// Empty segments are kept.
    const UNMERGED: Self = Self(8);
    /// Dot segments are names.
    const UNRESOLVED: Self = Self(16);

    /// The behaviours that make a difference for any of these texts.
    fn of(texts: &[(Likelihood, Vec<u8>)], slashes: Slashes) -> Self {
        let slash = |byte: &u8| matches!(byte, b'/' | b'\\');
        let empty = |pair: &[u8]| slash(&pair[0]) && (slash(&pair[1]) || pair[1] == b';');
        let mut all = Self::NONE;
        let mut add = |variant: Self, makes_a_difference: bool| {
            if makes_a_difference {
                all.0 |= variant.0;
            }
        };
        for (_, text) in texts {
            add(Self::CUT, text.contains(&0));
            add(Self::BACKSLASH, slashes == Slashes::Separate && text.contains(&b'\\'));
            add(Self::NO_PARAMS, text.contains(&b';'));
            add(Self::UNMERGED, text.windows(2).any(empty));
            add(Self::UNRESOLVED, text.split(slash).any(|segment| matches!(segment, b"." | b"..")));
        }
        all
    }

    fn count(self) -> usize {
        1 << self.0.count_ones()
    }

    /// All combinations of some of these.
    fn each(self) -> impl Iterator<Item = Self> {
        (0..=self.0).filter(move |bits| bits & !self.0 == 0).map(Self)
    }

    fn has(self, variant: Self) -> bool {
        self.0 & variant.0 != 0
    }

    /// Whether only some servers behave like this.
    fn is_rare(self) -> bool {
        self.has(Self(Self::NO_PARAMS.0 | Self::UNMERGED.0 | Self::UNRESOLVED.0))
    }

    fn split(self) -> Split {
        Split {
            backslash: self.has(Self::BACKSLASH),
            drop_params: self.has(Self::NO_PARAMS),
            merge: !self.has(Self::UNMERGED),
            resolve: !self.has(Self::UNRESOLVED),
        }
    }
}
