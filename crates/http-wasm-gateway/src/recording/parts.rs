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

/// What happens to a part of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Part of the syntax: it stays.
    Syntax,
    /// A key: it stays, except for words of secrets.
    Key,
    /// Its words are masked.
    Secret,
    /// An escape sequence of a secret: it is replaced with another that is as long.
    Escape,
}

/// The maximum length of a key in a line.
const KEY: usize = 40;

/// The parts of a configuration. In JSON, the keys of objects are known. Elsewhere, those in lines such as `key =
/// value` or `key: value` are, if there are several lines.
pub(super) fn config_parts(config: &[u8]) -> Vec<(&[u8], Kind)> {
    match is_json(config) {
        true => json_tokens(config).into_iter().flat_map(json_parts).collect(),
        false => line_parts(config),
    }
}

/// The strings of a JSON configuration that contain escape sequences, without these. Keys are left out.
pub(super) fn unescaped(config: &[u8]) -> Vec<String> {
    if !is_json(config) {
        return Vec::new();
    }
    let strings = json_tokens(config).into_iter().filter_map(|token| match token {
        Token::String(string) if string.contains(&b'\\') => serde_json::from_slice(string).ok(),
        _ => None,
    });
    strings.collect()
}

fn is_json(config: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(config).is_ok()
}

fn line_parts(config: &[u8]) -> Vec<(&[u8], Kind)> {
    if !config.trim_ascii().contains(&b'\n') {
        return vec![(config, Kind::Secret)];
    }
    let mut parts = Vec::new();
    for line in config.split_inclusive(|byte| *byte == b'\n') {
        let (key, value) = line.split_at(key_len(line));
        parts.push((key, Kind::Key));
        parts.push((value, Kind::Secret));
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

/// A part of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    /// A string, with its quotes, that is the key of an object.
    Key(&'t [u8]),
    /// Any other string, with its quotes.
    String(&'t [u8]),
    /// A number up to its exponent.
    Number(&'t [u8]),
    Other(&'t [u8]),
}

fn json_tokens(json: &[u8]) -> Vec<Token<'_>> {
    let (mut tokens, mut rest) = (Vec::new(), json);
    while let Some(first) = rest.first() {
        let is_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let len = match first {
            b'"' => string_len(rest),
            b'e' | b'E' => {
                // A large exponent would make a number that is out of range.
                let exponent = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-');
                rest.iter().take_while(|byte| exponent(byte)).count()
            }
            first if is_number(first) => rest.iter().take_while(|byte| is_number(byte)).count(),
            _ => 1,
        };
        let (token, after) = rest.split_at(len);
        rest = after;
        tokens.push(match first {
            b'"' if after.trim_ascii_start().first() == Some(&b':') => Token::Key(token),
            b'"' => Token::String(token),
            first if is_number(first) => Token::Number(token),
            _ => Token::Other(token),
        });
    }
    tokens
}

/// The length of the string with its quotes.
fn string_len(json: &[u8]) -> usize {
    let mut at = 1;
    while at < json.len() && json[at] != b'"' {
        at += if json[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(json.len())
}

fn json_parts(token: Token<'_>) -> Vec<(&[u8], Kind)> {
    let (string, text, escape) = match token {
        Token::Key(string) => (string, Kind::Key, Kind::Syntax),
        Token::String(string) => (string, Kind::Secret, Kind::Escape),
        Token::Number(number) => return vec![(number, Kind::Secret)],
        Token::Other(other) => return vec![(other, Kind::Syntax)],
    };
    let (mut parts, mut rest) = (Vec::new(), string);
    while !rest.is_empty() {
        let len = match rest {
            [b'\\', b'u', ..] => rest.len().min(6),
            [b'\\', ..] => rest.len().min(2),
            _ => memchr::memchr(b'\\', rest).unwrap_or(rest.len()),
        };
        let (part, after) = rest.split_at(len);
        parts.push((part, if part[0] == b'\\' { escape } else { text }));
        rest = after;
    }
    parts
}
