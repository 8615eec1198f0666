//! The IP addresses in a certificate, which rustls-webpki checks but doesn't list.

use std::net::IpAddr;

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
/// The extensions in the signed part of a certificate.
const EXTENSIONS: u8 = 0xa3;
/// An IP address among the names.
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The IP addresses in the subject alternative names of a DER certificate. Malformed parts are skipped.
pub(super) fn of(certificate: &[u8]) -> Vec<IpAddr> {
    names(certificate).map_or_else(Vec::new, |names| {
        names
            .filter(|element| element.tag == IP_ADDRESS)
            .filter_map(|element| address(element.content))
            .collect()
    })
}

fn names(certificate: &[u8]) -> Option<Elements<'_>> {
    let signed = Elements(certificate).find_tag(SEQUENCE)?.find_tag(SEQUENCE)?;
    let extensions = Elements(signed.0).find_tag(EXTENSIONS)?.find_tag(SEQUENCE)?;
    let alt_name = extensions.filter(|extension| extension.tag == SEQUENCE).find_map(|extension| {
        let mut parts = Elements(extension.content);
        let id = parts.next().filter(|part| part.tag == OBJECT_IDENTIFIER)?;
        (id.content == SUBJECT_ALT_NAME).then_some(parts)
    });
    alt_name?.find_tag(OCTET_STRING)?.find_tag(SEQUENCE)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

/// A sequence of DER elements.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The content of the next element with this tag.
    fn find_tag(mut self, tag: u8) -> Option<Self> {
        self.find(|element| element.tag == tag).map(|element| Self(element.content))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // The length's own length, and the length.
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Element { tag, content })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;

    use super::of;

    #[test]
    fn the_addresses_of_a_certificate_are_listed() {
        let names = ["a.example", "10.0.0.1", "2001:db8::1:0:0:1", "::1"].map(str::to_owned);
        let certificate = generate_simple_self_signed(names).unwrap().cert;
        let found: Vec<_> = of(certificate.der()).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1", "2001:db8::1:0:0:1", "::1"]);
        let certificate = generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert;
        assert!(of(certificate.der()).is_empty());
    }

    #[test]
    fn invalid_certificates_have_no_addresses() {
        let certificate = generate_simple_self_signed(["10.0.0.1".to_owned()]).unwrap().cert;
        let der = certificate.der();
        for end in 0..der.len() {
            assert!(of(&der[..end]).is_empty());
        }
        assert!(of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).is_empty());
    }
}
