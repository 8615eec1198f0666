//! The format of test files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

/// Tests of a guest: requests, and the expected results of each exchange.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestFile {
    /// Configuration of the guest, which `get_config` returns. Empty by default.
    pub(crate) config: Option<String>,
    /// File with the configuration, relative to this file.
    pub(crate) config_file: Option<PathBuf>,
    /// Environment variables of the guest.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Minimum level of guest log messages: off, error, warn, info or debug. "info" by default.
    pub(crate) log_level: Option<String>,
    /// The cases, in the order in which they run.
    #[serde(default, rename = "case")]
    pub(crate) cases: Vec<Case>,
}

/// One exchange, and its expected results. If the guest fails, the case fails, unless `expect.error` is set.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// What is tested, as a sentence.
    pub(crate) name: String,
    /// Configuration of the guest for this case, instead of the file's.
    pub(crate) config: Option<String>,
    /// The request. GET / by default.
    #[serde(default)]
    pub(crate) request: RequestSpec,
    /// The next handler's response. 200 with `hello world` by default.
    #[serde(default)]
    pub(crate) next: NextSpec,
    /// What is expected.
    #[serde(default)]
    pub(crate) expect: Expect,
}

/// A request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestSpec {
    /// GET by default.
    pub(crate) method: Option<String>,
    /// Path and query, or a URL, whose host becomes the `host` header. "/" by default.
    pub(crate) url: Option<String>,
    /// Headers: a value or a list of values by name.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, OneOrMore>,
    /// The body, as text.
    pub(crate) body: Option<String>,
    /// The body, as JSON.
    pub(crate) json: Option<Json>,
    /// The client's address, "127.0.0.1:54321" by default.
    pub(crate) client: Option<String>,
}

/// The next handler, and its response.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NextSpec {
    /// 200 by default.
    pub(crate) status: Option<u16>,
    /// Headers: a value or a list of values by name.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, OneOrMore>,
    /// The body, as text.
    pub(crate) body: Option<String>,
    /// The body, as JSON.
    pub(crate) json: Option<Json>,
    /// Respond with the request as JSON.
    #[serde(default)]
    pub(crate) echo: bool,
    /// Fail without a response, as if an upstream can't be reached: the guest's `is_error` is 1.
    #[serde(default)]
    pub(crate) fails: bool,
}

/// A header's values.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    /// One value.
    One(String),
    /// Several, in this order.
    More(Vec<String>),
}

/// The expected results of an exchange. Only what is given is checked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    /// Whether the next handler gets a request.
    pub(crate) next_called: Option<bool>,
    /// The request as the next handler gets it.
    pub(crate) request: Option<ExpectRequest>,
    /// The response as the client receives it.
    pub(crate) response: Option<ExpectResponse>,
    /// Texts that must occur in what the guest logs or writes to stdout and stderr, each in a separate line, in this
    /// order.
    #[serde(default)]
    pub(crate) log: Vec<String>,
    /// Texts that must not occur there.
    #[serde(default)]
    pub(crate) no_log: Vec<String>,
    /// The guest must fail with an error that contains this text.
    pub(crate) error: Option<String>,
}

/// What is expected of the request as the next handler gets it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectRequest {
    /// Its method.
    pub(crate) method: Option<String>,
    /// Its path and query.
    pub(crate) uri: Option<String>,
    /// Its headers by name: the value, a list of all values, `true` for any value, or `false` if there must be none.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, ExpectHeader>,
    /// Its whole body, as text.
    pub(crate) body: Option<String>,
    /// Text that its body must contain.
    pub(crate) body_contains: Option<String>,
    /// Its body, as JSON: the order of fields and white space don't matter.
    pub(crate) json: Option<Json>,
}

/// What is expected of the response as the client receives it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectResponse {
    /// Its status.
    pub(crate) status: Option<u16>,
    /// Its headers by name: the value, a list of all values, `true` for any value, or `false` if there must be none.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, ExpectHeader>,
    /// Its whole body, as text.
    pub(crate) body: Option<String>,
    /// Text that its body must contain.
    pub(crate) body_contains: Option<String>,
    /// Its body, as JSON: the order of fields and white space don't matter.
    pub(crate) json: Option<Json>,
}

/// What is expected of a header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ExpectHeader {
    /// `true`: the header is present. `false`: it is absent.
    Present(bool),
    /// The header has exactly these values.
    Values(OneOrMore),
}

impl OneOrMore {
    pub(crate) fn values(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::More(values) => values,
        }
    }
}
