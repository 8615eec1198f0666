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

/// The maximum length of a key in a line.
const KEY: usize = 40;

/// The parts of a configuration, and whether they are secret. The keys of JSON objects aren't, nor, if there are several
/// lines, those in lines such as `key = value` or `key: value`.
pub(super) fn config_parts(config: &[u8]) -> Vec<(&[u8], bool)> {
    match serde_json::from_slice::<serde::de::IgnoredAny>(config) {
        Ok(_) => json_parts(config),
        Err(_) => line_parts(config),
    }
}

fn line_parts(config: &[u8]) -> Vec<(&[u8], bool)> {
    if !config.trim_ascii().contains(&b'\n') {
        return vec![(config, true)];
    }
    let mut parts = Vec::new();
    for line in config.split_inclusive(|byte| *byte == b'\n') {
        let (key, value) = line.split_at(key_len(line));
        parts.push((key, false));
        parts.push((value, true));
    }
    parts
}

/// The length of a line's key with its separator. Secrets, too, may contain separators: base64 ends with `=`.
fn key_len(line: &[u8]) -> usize {
    let Some(at) = memchr::memchr2(b'=', b':', line) else { return 0 };
    let (key, value) = (line[..at].trim_ascii(), &line[at + 1..]);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_key = (1..=KEY).contains(&key.len()) && key.iter().all(is_name);
    let has_value = value.iter().any(|byte| *byte != b'=' && !byte.is_ascii_whitespace());
    if is_key && has_value && !value.starts_with(b"=") { at + 1 } else { 0 }
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
