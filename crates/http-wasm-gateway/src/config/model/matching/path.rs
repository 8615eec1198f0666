//! Paths: exact, by prefix, by pattern. All of them match paths in the normal form of [`normal`].

use std::fmt;
use std::str::FromStr;

use matchit::InsertError;

use crate::config::read::{Context, Node, Value, parsed};
use crate::path::normal;

/// The one path that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactPath(String);

impl ExactPath {
    /// Whether this path matches.
    pub fn fits(&self, path: &str) -> bool {
        self.0 == path
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The prefix of the paths that match, in whole segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// Whether this path matches.
    pub fn fits(&self, path: &str) -> bool {
        let prefix = self.0.strip_suffix('/').unwrap_or(&self.0);
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A pattern for paths: `{name}` matches one segment, `{*rest}` at the end all remaining ones.
#[derive(Debug, Clone)]
pub struct PathPattern {
    text: String,
    matcher: matchit::Router<()>,
}

impl PathPattern {
    /// Whether this path matches.
    pub fn fits(&self, path: &str) -> bool {
        self.matcher.at(path).is_ok()
    }

    /// The pattern as written.
    pub(in crate::config) fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the first variable segment, including its trailing slash.
    pub(in crate::config) fn fixed_part(&self) -> &str {
        match self.text.find('{') {
            Some(brace) => &self.text[..=self.text[..brace].rfind('/').unwrap_or(0)],
            None => &self.text,
        }
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl FromStr for ExactPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        literal(text).map(Self)
    }
}

impl FromStr for PathPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        literal(text).map(Self)
    }
}

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut matcher = matchit::Router::new();
        matcher.insert(text, ()).map_err(|error| advice(&error))?;
        if without_parameters(text).contains('*') {
            return Err("all remaining segments are written `{*name}`, as in \"/files/{*rest}\"".to_owned());
        }
        comparable(&example(text))?;
        Ok(Self { text: text.to_owned(), matcher })
    }
}

/// What is wrong with a pattern.
fn advice(error: &InsertError) -> String {
    match error {
        InsertError::InvalidParamSegment => {
            "a segment can have only one `{name}`, at its end, as in \"/users/{id}\"".to_owned()
        }
        InsertError::InvalidParam => "expected names in braces, as in \"/users/{id}\"".to_owned(),
        InsertError::InvalidCatchAll => {
            "`{*name}` must be the last segment, as in \"/files/{*rest}\"".to_owned()
        }
        other => other.to_string(),
    }
}

/// A pattern without what is in braces.
fn without_parameters(pattern: &str) -> String {
    pattern.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)).collect()
}

/// A path that matches a pattern.
fn example(pattern: &str) -> String {
    let mut path = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            // Doubled braces are literal.
            '{' | '}' if rest.next_if_eq(&char).is_some() => path.push(char),
            '{' => {
                rest.by_ref().take_while(|&char| char != '}').for_each(drop);
                path.push('x');
            }
            char => path.push(char),
        }
    }
    path
}

/// A path without the characters that have a meaning only in patterns.
fn literal(text: &str) -> Result<String, String> {
    if text.contains(['{', '}', '*']) {
        return Err(
            "`{`, `}` and `*` belong in a `path_pattern`, as in \"/users/{id}\" or \"/files/{*rest}\""
                .to_owned(),
        );
    }
    comparable(text)?;
    Ok(text.to_owned())
}

/// Checks that a request can have this path in normal form. Any other path would never match.
fn comparable(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err("a path must start with /".to_owned());
    }
    if path.contains(['?', '#']) {
        return Err("a path can't have a query or a fragment".to_owned());
    }
    match normal(path) {
        Some(normal) if normal == path => Ok(()),
        Some(normal) => Err(format!("paths are matched in normal form, which is {normal:?} here")),
        None => Err("it climbs above the root".to_owned()),
    }
}

impl fmt::Display for ExactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Value for ExactPath {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "path", context)
    }
}

impl Value for PathPrefix {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "path prefix", context)
    }
}

impl Value for PathPattern {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        parsed(node, "path pattern", context)
    }
}

#[cfg(test)]
mod tests {
    use super::{ExactPath, PathPattern, PathPrefix};

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let fits = |prefix: &str, path| prefix.parse::<PathPrefix>().unwrap().fits(path);
        assert!(fits("/api", "/api") && fits("/api", "/api/") && fits("/api", "/api/users"));
        assert!(!fits("/api", "/apis") && !fits("/api", "/"));
        assert!(fits("/api/", "/api/users") && fits("/", "/x") && fits("/", "/"));
    }

    #[test]
    fn a_path_pattern_has_segments_with_any_content() {
        let fits = |pattern: &str, path| pattern.parse::<PathPattern>().unwrap().fits(path);
        assert!(fits("/users/{id}", "/users/1") && !fits("/users/{id}", "/users/1/posts"));
        assert!(fits("/users/{id}/posts", "/users/1/posts"));
        assert!(fits("/files/{*rest}", "/files/a/b") && !fits("/files/{*rest}", "/other"));
        assert!(fits("/{{a}}/{b}", "/{a}/x") && fits("/a%2Fb/{c}", "/a%2Fb/x"));
        for wrong in ["", "x", "/{", "/{*a}/b"] {
            assert!(wrong.parse::<PathPattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_pattern_that_no_request_can_match_is_refused() {
        for wrong in [
            "{a}",
            "/a//{b}",
            "/a/../{b}",
            "/./{a}",
            "/%61/{b}",
            "/{a}?b={c}",
            "/{a}#b",
            "/a%2fb/{c}",
            "/files/*",
            "/{a}/*/{b}",
            "/{a}//",
        ] {
            assert!(wrong.parse::<PathPattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_that_no_request_can_have_is_refused() {
        for wrong in ["", "a", "/a?b", "/a/../b", "/../a", "/a//b", "/%61", "/a#b", "/a*", "/{a}", "/a}"] {
            assert!(wrong.parse::<ExactPath>().is_err(), "{wrong}");
            assert!(wrong.parse::<PathPrefix>().is_err(), "{wrong}");
        }
        assert!("/a%2Fb".parse::<ExactPath>().is_ok());
    }
}
