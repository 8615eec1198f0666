//! Parses `accept-encoding`.

use super::Coding;
use super::list::elements;

/// A quality value in thousandths.
type Quality = u16;

const FULL: Quality = 1_000;

/// The codings that a client accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acceptable {
    named: [Option<Quality>; Coding::ALL.len()],
    /// The quality of all other codings.
    others: Quality,
}

impl Acceptable {
    /// Parses the values of all `accept-encoding` fields. Without any, no coding is accepted.
    pub(crate) fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut acceptable = Self::default();
        for element in values.into_iter().flat_map(elements) {
            let (name, quality) = split(element);
            match Coding::named(name) {
                Some(coding) => acceptable.named[coding as usize] = Some(quality),
                None if name == b"*" => acceptable.others = quality,
                None => {}
            }
        }
        acceptable
    }

    /// The best coding for this client: the one with the highest quality, or `preferred` among several with the same.
    /// `None` if the client accepts none.
    pub(crate) fn best(&self, preferred: Coding) -> Option<Coding> {
        let quality = |coding: Coding| self.named[coding as usize].unwrap_or(self.others);
        let candidates = [preferred, Coding::Zstd, Coding::Brotli, Coding::Gzip, Coding::Deflate];
        let mut best = None;
        for coding in candidates {
            let quality = quality(coding);
            if quality > best.map_or(0, |(_, quality)| quality) {
                best = Some((coding, quality));
            }
        }
        best.map(|(coding, _)| coding)
    }
}

/// The value of `accept-encoding` without codings that can't be decoded here. `None` if `values` have none.
pub(crate) fn reduce<'a>(values: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Vec<u8>> {
    let all = || values.clone().flat_map(elements);
    let is_kept = |element: &&[u8]| {
        let (name, _) = split(element);
        Coding::named(name).is_some() || name.eq_ignore_ascii_case(b"identity")
    };
    if all().all(|element| is_kept(&element)) {
        return None;
    }
    let mut kept: Vec<Vec<u8>> = all().filter(is_kept).map(<[u8]>::to_vec).collect();
    // "Any other" includes codings that can't be decoded.
    if let Some(any) = all().find(|element| split(element).0 == b"*") {
        let parameters = &any[1..];
        let is_named = |coding| all().any(|element| Coding::named(split(element).0) == Some(coding));
        let unnamed = Coding::ALL.into_iter().filter(|&coding| !is_named(coding));
        kept.extend(unnamed.map(|coding| [coding.name().as_bytes(), parameters].concat()));
    }
    if kept.is_empty() {
        kept.push(b"identity".to_vec());
    }
    Some(kept.join(&b", "[..]))
}

/// An element's name and quality. An invalid quality is 0, so that nothing is sent that the client didn't ask for.
fn split(element: &[u8]) -> (&[u8], Quality) {
    let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
    (name, weight.map_or(FULL, |weight| quality(weight).unwrap_or(0)))
}

/// Parses a quality value (RFC 9110, section 12.4.2).
fn quality(weight: &[u8]) -> Option<Quality> {
    let (whole, decimals) = match weight {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut quality = Quality::from(whole - b'0') * FULL;
    for (&digit, unit) in decimals.iter().zip([100, 10, 1]) {
        quality += Quality::from(digit.checked_sub(b'0').filter(|&digit| digit < 10)?) * unit;
    }
    (quality <= FULL).then_some(quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(value: &str, preferred: Coding) -> Option<Coding> {
        Acceptable::parse([value.as_bytes()]).best(preferred)
    }

    #[test]
    fn the_original_coding_wins_among_codings_of_equal_preference() {
        assert_eq!(best("gzip, deflate, br, zstd", Coding::Deflate), Some(Coding::Deflate));
        assert_eq!(best("gzip;q=1.0, br;q=0.9", Coding::Brotli), Some(Coding::Gzip));
        assert_eq!(best("*", Coding::Gzip), Some(Coding::Gzip));
        assert_eq!(best("br, *;q=0.1", Coding::Gzip), Some(Coding::Brotli));
        assert_eq!(best("X-GZIP ; Q=0.5", Coding::Zstd), Some(Coding::Gzip));
    }

    #[test]
    fn codings_that_the_client_refuses_or_did_not_list_are_not_used() {
        for value in ["", "identity", "gzip;q=0, *;q=0", "gzip;q=0", "gzip;q=2", "gzip;q=0.0001", "compress"]
        {
            assert_eq!(best(value, Coding::Gzip), None, "{value}");
        }
        assert_eq!(best("gzip;q=0, *", Coding::Gzip), Some(Coding::Zstd));
        assert_eq!(best("gzip;q=0.001", Coding::Gzip), Some(Coding::Gzip));
    }

    #[test]
    fn codings_that_cannot_be_decoded_are_removed() {
        let reduced = |values: &[&str]| {
            let reduced = reduce(values.iter().map(|value| value.as_bytes()));
            reduced.map(|value| String::from_utf8(value).unwrap())
        };
        assert_eq!(reduced(&["gzip, deflate;q=0.5", "br"]), None);
        assert_eq!(reduced(&["gzip, dcb, br;q=0.3"]).as_deref(), Some("gzip, br;q=0.3"));
        assert_eq!(reduced(&["compress"]).as_deref(), Some("identity"));
        assert_eq!(
            reduced(&["gzip;q=0, *;q=0.4"]).as_deref(),
            Some("gzip;q=0, deflate;q=0.4, br;q=0.4, zstd;q=0.4")
        );
        assert_eq!(reduced(&["identity;q=0, dcz"]).as_deref(), Some("identity;q=0"));
        assert_eq!(reduced(&[]), None);
    }
}
