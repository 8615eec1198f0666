//! The secret parts of headers, configurations and environment variables.

/// The length of the name of an environment variable.
pub(super) fn environment(_: usize, item: &[u8]) -> usize {
    memchr::memchr(b'=', item).map_or(0, |at| at + 1)
}

/// The parts of a header's values, and whether they are secret. The names of cookies and their attributes aren't.
pub(super) fn header_parts<'t>(name: &[u8], values: &'t [u8]) -> Vec<(&'t [u8], bool)> {
    let is_cookie = name.eq_ignore_ascii_case(b"cookie");
    let is_set_cookie = name.eq_ignore_ascii_case(b"set-cookie");
    if !is_cookie && !is_set_cookie {
        return vec![(values, true)];
    }
    let mut parts = Vec::new();
    for value in values.split_inclusive(|byte| *byte == 0) {
        for (at, pair) in value.split_inclusive(|byte| *byte == b';').enumerate() {
            let (name, secret) = pair.split_at(memchr::memchr(b'=', pair).map_or(0, |at| at + 1));
            parts.push((name, false));
            parts.push((secret, is_cookie || at == 0));
        }
    }
    parts
}

/// The parts of a configuration, and whether they are secret. The keys of JSON objects, and those in lines such as `key
/// = value` or `key: value`, aren't.
pub(super) fn config_parts(config: &[u8]) -> Vec<(&[u8], bool)> {
    match serde_json::from_slice::<serde::de::IgnoredAny>(config) {
        Ok(_) => json_parts(config),
        Err(_) => line_parts(config),
    }
}

fn line_parts(config: &[u8]) -> Vec<(&[u8], bool)> {
    let mut parts = Vec::new();
    for line in config.split_inclusive(|byte| *byte == b'\n') {
        let end = line.iter().position(|byte| matches!(byte, b'=' | b':')).map_or(0, |at| at + 1);
        // Anything else isn't a key.
        let is_key =
            line[..end].iter().all(|byte| byte.is_ascii_alphanumeric() || b" \t-_.=:\"".contains(byte));
        let (key, value) = line.split_at(if is_key { end } else { 0 });
        parts.push((key, false));
        parts.push((value, true));
    }
    parts
}

fn json_parts(json: &[u8]) -> Vec<(&[u8], bool)> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < json.len() {
        let start = at;
        if json[at] != b'"' {
            at = memchr::memchr(b'"', &json[at..]).map_or(json.len(), |found| at + found);
            parts.push((&json[start..at], true));
            continue;
        }
        at += 1;
        while at < json.len() && json[at] != b'"' {
            at += if json[at] == b'\\' { 2 } else { 1 };
        }
        at = (at + 1).min(json.len());
        let next = json[at..].iter().find(|byte| !byte.is_ascii_whitespace());
        parts.push((&json[start..at], next != Some(&b':')));
    }
    parts
}
