//! Routes: which requests, through which guests, to where.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::matching::{ExactPath, HeaderMatch, HostPattern, MethodName, PathPattern, PathPrefix};
use crate::config::read::{Context, Located, Node, OneOrMany, Size, Time, Value, choice, section};

/// One route. What it doesn't say about requests, it doesn't ask of them.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Route {
    /// Its name in logs and metrics. Absent, "route-1" for the first, and so on.
    pub name: Option<Located<String>>,
    /// Hosts, as in "example.com", or "*.example.com" for all below it.
    pub host: OneOrMany<HostPattern>,
    /// The one path that fits.
    pub path: Option<ExactPath>,
    /// The beginning of paths that fit, by whole segments: "/api" fits "/api" and "/api/users" but not "/apis".
    pub path_prefix: Option<PathPrefix>,
    /// A pattern for paths: "{name}" stands for one segment, "{*rest}" at the end for all that follow.
    pub path_pattern: Option<PathPattern>,
    /// What becomes of a path that servers read in different ways, as with an encoded slash. The route is that of the
    /// path as it was sent, where `%2f` is not `/`.
    pub escaped_slashes: EscapedSlashes,
    /// Methods.
    pub method: OneOrMany<MethodName>,
    /// Header fields: a text for the value that one of them must have, or true and false for there or not there.
    pub headers: BTreeMap<String, Located<HeaderMatch>>,

    /// The guests that requests go through, the first outermost.
    pub guests: Vec<Located<String>>,

    /// The upstream that answers.
    pub upstream: Option<Located<String>>,
    /// The answer is a redirect.
    pub redirect: Option<Redirect>,
    /// The answer is always this one.
    pub respond: Option<Respond>,
    /// The gateway answers by itself, to try things out.
    pub backend: Option<Backend>,

    /// How long the answer's head may take, guests included and the queue excepted; 504 after
    /// that. Absent, guests and upstream have their own limits.
    pub timeout: Option<Time>,
    /// Size of a request's body; 413 beyond it. Absent, any.
    pub max_request_body: Option<Size>,
    /// Requests at once.
    pub concurrency: Option<Concurrency>,
}

impl Route {
    /// Its name, the one that is made up included. `index` is its place among all routes, from 0.
    pub(crate) fn name_at(&self, index: usize) -> String {
        self.name.as_ref().map_or_else(|| format!("route-{}", index + 1), |name| name.value.clone())
    }
}

section! {
    Route {
        name, host, path, path_prefix, path_pattern, escaped_slashes, method, headers, guests, upstream,
        redirect, respond, backend, timeout, max_request_body, concurrency
    }
    one_of ["upstream", "redirect", "respond", "backend"]
    at_most_one_of ["path", "path_prefix", "path_pattern"]
}

/// What becomes of encoded slashes and backslashes in paths, and of other spellings that servers read in different
/// ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EscapedSlashes {
    /// The path goes on as it came if it leads to the same route when it is decoded, else the answer is 400.
    #[default]
    Auto,
    /// As `auto`, and a path with an encoded slash or a backslash is answered with 400.
    Reject,
    /// They are ordinary characters of a segment, for the upstream too. Other spellings are treated as by `auto`.
    Keep,
    /// They become slashes and dot segments are resolved; the resulting path is what routes, guests and the upstream
    /// see.
    Decode,
}

impl Value for EscapedSlashes {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// A redirect.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["to"]))]
pub struct Redirect {
    /// Where to, a URL or a path, as in `https://example.com` or `/new`.
    pub to: Located<String>,
    /// 301, 302, 303, 307 or 308.
    pub status: Located<u16>,
    /// Whether path and query of the request are put behind `to`.
    pub keep_path: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { to: Located::default(), status: 308.into(), keep_path: false }
    }
}

section! { Redirect { to, status, keep_path } need [("to", r#"to = "https://example.com""#)] }

/// A fixed answer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Respond {
    /// Its status, from 200 to 599.
    pub status: Located<u16>,
    /// Its body.
    pub body: String,
    /// Its header fields. A body without a `content-type` is plain text.
    pub headers: BTreeMap<String, Located<String>>,
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: 200.into(), body: String::new(), headers: BTreeMap::new() }
    }
}

section! { Respond { status, body, headers } }

/// A backend within the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Answers with the request, as JSON.
    Echo,
    /// Answers `hello world`.
    Hello,
}

impl Value for Backend {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Requests at once on a route.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("required" = ["max"]))]
pub struct Concurrency {
    /// Requests that may be on their way to a response head at once.
    pub max: NonZeroU32,
    /// Requests that may wait beyond those. Further ones get 503 with `Retry-After` at once.
    pub queue: u32,
    /// How long one may wait; 503 with `Retry-After` after that.
    pub queue_timeout: Time,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { max: NonZeroU32::MIN, queue: 0, queue_timeout: Time::seconds(5) }
    }
}

section! { Concurrency { max, queue, queue_timeout } need [("max", "max = 100")] }
