//! The codings of a message, according to its `content-encoding`.

/// A coding that is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    /// The zlib format. When decoding, the wrapper is optional, since many senders omit it.
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    pub(crate) const ALL: [Self; 4] = [Self::Gzip, Self::Deflate, Self::Brotli, Self::Zstd];

    /// Its registered name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding with this name, in any case. `x-gzip` is an old name for gzip.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        Self::ALL.into_iter().find(|coding| is(coding.name())).or_else(|| is("x-gzip").then_some(Self::Gzip))
    }
}

/// The maximum number of codings of one message. curl, urllib3 and undici have the same limit.
pub(crate) const MAX_CODINGS: usize = 5;

/// The codings of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Codings {
    /// No coding: the bytes are the content.
    Identity,
    /// All of the codings are supported.
    Known(List),
    /// One of the codings isn't supported, so none is undone.
    Unknown,
}

/// At least one coding, in the order in which they were applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    codings: [Coding; MAX_CODINGS],
    len: usize,
}

impl List {
    /// The codings, in the order in which they were applied.
    pub(crate) fn as_slice(&self) -> &[Coding] {
        &self.codings[..self.len]
    }
}

impl From<Coding> for List {
    fn from(coding: Coding) -> Self {
        Self { codings: [coding; MAX_CODINGS], len: 1 }
    }
}

impl Codings {
    /// Parses the values of all `content-encoding` fields, which form one list.
    pub(crate) fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut list: Option<List> = None;
        for name in values.into_iter().flat_map(elements) {
            if name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let Some(coding) = Coding::named(name) else { return Self::Unknown };
            match &mut list {
                None => list = Some(coding.into()),
                Some(list) if list.len == MAX_CODINGS => return Self::Unknown,
                Some(list) => {
                    list.codings[list.len] = coding;
                    list.len += 1;
                }
            }
        }
        list.map_or(Self::Identity, Self::Known)
    }
}

/// The elements of a comma-separated field value, without empty ones.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Option<Vec<Coding>> {
        match Codings::parse(values.iter().map(|value| value.as_bytes())) {
            Codings::Identity => Some(Vec::new()),
            Codings::Known(list) => Some(list.as_slice().to_vec()),
            Codings::Unknown => None,
        }
    }

    #[test]
    fn several_fields_form_one_list_and_coding_names_ignore_case() {
        assert_eq!(parse(&["GZip, br", " Zstd ,,"]), Some(vec![Coding::Gzip, Coding::Brotli, Coding::Zstd]));
        assert_eq!(parse(&["x-gzip"]), Some(vec![Coding::Gzip]));
        assert_eq!(parse(&["identity", "deflate, identity"]), Some(vec![Coding::Deflate]));
        assert_eq!(parse(&["", " , "]), Some(vec![]));
    }

    #[test]
    fn an_unknown_coding_or_too_many_codings_make_the_list_unknown() {
        for values in ["gzip, compress", "x-compress", "aes128gcm", "gzip;q=1", "br br"] {
            assert_eq!(parse(&[values]), None, "{values}");
        }
        assert_eq!(parse(&["gzip,gzip,gzip", "gzip,gzip"]).map(|list| list.len()), Some(5));
        assert_eq!(parse(&["gzip,gzip,gzip", "gzip,gzip,gzip"]), None);
    }
}
