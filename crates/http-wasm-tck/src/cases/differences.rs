//! Differences of the reference host that concern several themes. docs/conformance.md lists all differences.

pub(super) const EMPTY_LOOKUP: &str = "looking up or removing an empty header name traps";
pub(super) const ECHOES: &str = "enable_features echoes its argument";
pub(super) const ENDLESS: &str = "an endless loop never ends";
pub(super) const IGNORED: &str = "a failed memory write is ignored";
pub(super) const INVALID: &str = "invalid header names and values do not trap";
pub(super) const LAST_CHUNK: &str = "buffer_request keeps only the last chunk";
pub(super) const OLD_LENGTH: &str = "a rewritten body keeps the old Content-Length";
pub(super) const ONLY_START: &str = "only `_start` is run";
pub(super) const LATE_HEAD: &str =
    "status or headers set after a body write, or headers after the status, are lost";
pub(super) const SNIFFED: &str = "a response body written by a guest gets a sniffed content-type";
pub(super) const SORTED: &str = "header names are sorted";
pub(super) const TRAILERS: &str = "add on a trailer overwrites; request trailers are taken from the response";
