//! Which of the fields that the gateway itself handles are in a head.

use std::ops::BitOr;

use http::HeaderMap;

use crate::names::{is_hop_by_hop, is_variant_of_own_field};

/// The known fields of a head; some may have been removed from it since.
///
/// They are found by looking at each name once. That costs far less than looking up each field, since most heads have
/// few fields and hardly any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownFields(u16);

impl KnownFields {
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const CONTENT_LENGTH: Self = Self(1 << 1);
    pub(crate) const COOKIE: Self = Self(1 << 2);
    pub(crate) const DATE: Self = Self(1 << 3);
    pub(crate) const TE: Self = Self(1 << 4);
    pub(crate) const TRAILER: Self = Self(1 << 5);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 6);
    pub(crate) const UPGRADE: Self = Self(1 << 7);
    /// Any other field that a proxy removes, whether or not `Connection` nominates it.
    pub(crate) const OTHER_HOP_BY_HOP: Self = Self(1 << 8);

    const NONE: Self = Self(0);

    /// The known fields in a head.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::NONE, |found, name| found | Self::named(name.as_str()))
    }

    /// Whether any of these fields is in the head.
    pub(crate) fn has(self, fields: Self) -> bool {
        self.0 & fields.0 != 0
    }

    fn named(name: &str) -> Self {
        match name {
            "connection" => Self::CONNECTION,
            "content-length" => Self::CONTENT_LENGTH,
            "cookie" => Self::COOKIE,
            "date" => Self::DATE,
            "te" => Self::TE,
            "trailer" => Self::TRAILER,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "upgrade" => Self::UPGRADE,
            _ if is_hop_by_hop(name) || is_variant_of_own_field(name) => Self::OTHER_HOP_BY_HOP,
            _ => Self::NONE,
        }
    }
}

impl BitOr for KnownFields {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::KnownFields;
    use crate::testing::headers;

    #[test]
    fn each_field_is_found_by_its_name_and_only_by_it() {
        let hop_by_hop = KnownFields::OTHER_HOP_BY_HOP;
        for (name, expected) in [
            ("connection", KnownFields::CONNECTION),
            ("content-length", KnownFields::CONTENT_LENGTH),
            ("content_length", hop_by_hop),
            ("cookie", KnownFields::COOKIE),
            ("date", KnownFields::DATE),
            ("te", KnownFields::TE),
            ("trailer", KnownFields::TRAILER),
            ("transfer-encoding", KnownFields::TRANSFER_ENCODING),
            ("transfer_encoding", hop_by_hop),
            ("upgrade", KnownFields::UPGRADE),
            ("keep-alive", hop_by_hop),
            ("proxy_connection", hop_by_hop),
            ("x_forwarded-for", hop_by_hop),
            ("x-forwarded-for", KnownFields::NONE),
            ("cookies", KnownFields::NONE),
            ("host", KnownFields::NONE),
        ] {
            assert_eq!(KnownFields::of(&headers(&[("accept", "1"), (name, "1")])), expected, "{name}");
        }
        let both = KnownFields::of(&headers(&[("te", "trailers"), ("cookie", "a=b")]));
        assert!(both.has(KnownFields::TE) && both.has(KnownFields::COOKIE));
        assert!(!both.has(KnownFields::CONNECTION) && !both.has(hop_by_hop));
    }
}
