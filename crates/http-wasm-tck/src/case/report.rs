//! Checks the guest's report against its script.

use super::observed::Mismatch;
use crate::script::{Content, Expected, ExpectedResult};
use crate::text::{from_hex, shown};

/// One result that the guest reports.
enum Entry {
    Value(u64),
    Memory(Vec<u8>),
}

/// Compares a report with the expected results.
pub(super) fn compare(hex: &[u8], expected: &[Expected]) -> Result<(), Mismatch> {
    let entries = from_hex(hex).and_then(|bytes| parse(&bytes));
    let Some(entries) = entries else {
        return Err(Mismatch::new("a report of the guest", format!("a damaged one: {}", shown(hex))));
    };
    if entries.len() != expected.len() {
        let what = format!("a report of {} entries", expected.len());
        return Err(Mismatch::new(what, format!("one of {}", entries.len())));
    }
    expected.iter().zip(&entries).try_for_each(|(expected, entry)| check(expected, entry))
}

/// The value in a report that consists of one.
pub(crate) fn value(hex: &[u8]) -> Option<u64> {
    match from_hex(hex).and_then(|bytes| parse(&bytes))?[..] {
        [Entry::Value(value)] => Some(value),
        _ => None,
    }
}

fn parse(mut bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while let Some((tag, rest)) = bytes.split_first() {
        match tag {
            b'V' => {
                let (value, rest) = rest.split_first_chunk()?;
                entries.push(Entry::Value(u64::from_le_bytes(*value)));
                bytes = rest;
            }
            b'M' => {
                let (len, rest) = rest.split_first_chunk()?;
                let (memory, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
                entries.push(Entry::Memory(memory.to_vec()));
                bytes = rest;
            }
            _ => return None,
        }
    }
    Some(entries)
}

fn check(expected: &Expected, entry: &Entry) -> Result<(), Mismatch> {
    let of = &expected.of;
    match (&expected.what, entry) {
        (ExpectedResult::Value(values), Entry::Value(seen)) if values.contains(seen) => Ok(()),
        (ExpectedResult::Value(values), Entry::Value(seen)) => {
            let values: Vec<String> = values.iter().map(|&value| number(value)).collect();
            Err(Mismatch::new(format!("{of} = {}", values.join(" or ")), number(*seen)))
        }
        (ExpectedResult::Memory(content), Entry::Memory(seen)) => {
            let matches = match content {
                Content::Exact(exact) => exact == seen,
                Content::Names(names) => has_names(seen, names),
                Content::Like(is_like, _) => is_like(seen),
            };
            let wanted = match content {
                Content::Exact(exact) => shown(exact),
                Content::Names(names) => {
                    format!("{} in this order, once each, lower case", names.join(", "))
                }
                Content::Like(_, what) => (*what).to_owned(),
            };
            if matches { Ok(()) } else { Err(Mismatch::new(format!("{of} writes {wanted}"), shown(seen))) }
        }
        _ => Err(Mismatch::new(format!("a report on {of}"), "one on something else")),
    }
}

/// A result as text. Packed results are shown as two numbers.
fn number(value: u64) -> String {
    match (value >> 32, value & 0xffff_ffff) {
        (0, low) => low.to_string(),
        (0xbad0_0000, 1) => "more bytes than there was room for".to_owned(),
        (0xbad0_0000, 2) => "a buffer neither full nor at EOF".to_owned(),
        (0xbad0_0000, 3) => "an EOF flag other than 0 and 1".to_owned(),
        (0xbad0_0000, 4) => "no end".to_owned(),
        (high, low) if high > 0xffff => format!("{low} bytes of hash {high:08x}"),
        (high, low) => format!("({high}, {low})"),
    }
}

fn has_names(list: &[u8], names: &[&str]) -> bool {
    let Some(list) = list.strip_suffix(b"\0") else { return list.is_empty() && names.is_empty() };
    let list: Vec<&[u8]> = list.split(|&byte| byte == 0).collect();
    let known = |name: &&&[u8]| names.iter().any(|wanted| wanted.as_bytes() == **name);
    let found: Vec<&[u8]> = list.iter().filter(known).copied().collect();
    let lower = list.iter().all(|name| !name.iter().any(u8::is_ascii_uppercase));
    let mut once = list.clone();
    once.sort_unstable();
    once.dedup();
    lower
        && once.len() == list.len()
        && found.iter().eq(names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>().iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Function;
    use crate::script::script;

    #[test]
    fn names_must_each_appear_once_and_in_order() {
        assert!(has_names(b"host\0b\0x\0a\0", &["b", "a"]));
        for bad in [&b"a\0b\0"[..], b"b\0", b"b\0a\0b\0", b"b\0a\0X\0", b"b\0a", b""] {
            assert!(!has_names(bad, &["b", "a"]), "{bad:?}");
        }
        assert!(has_names(b"", &[]) && has_names(b"x\0", &[]));
    }

    #[test]
    fn a_report_is_compared_entry_by_entry() {
        let expected = script().reads(Function::GetMethod, "GET").expected();
        let report = |len: u8, text: &str| format!("56{len:02x}000000000000004d03000000{text}");
        assert!(compare(report(3, "474554").as_bytes(), &expected).is_ok());
        let wrong = compare(report(2, "474554").as_bytes(), &expected).unwrap_err();
        assert_eq!(wrong.to_string(), "get_method(0x100000, 19) = 3: seen 2");
        assert!(compare(report(3, "474555").as_bytes(), &expected).is_err());
        assert!(compare(b"56", &expected).is_err() && compare(b"", &expected).is_err());
    }
}
