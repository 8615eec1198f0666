//! All cases, by theme.

mod bodies;
mod flow;
mod framing;
mod limits;
mod names;
mod own_host;
mod phases;
mod pointers;
mod response;
mod status;
mod uri;

use crate::case::Case;

// How the reference host differs, where several themes meet it. All of them stand in docs/conformance.md.
const EMPTY_LOOKUP: &str = "looking up or removing an empty header name traps";
const ECHOES: &str = "enable_features echoes what was asked";
const ENDLESS: &str = "an endless loop never ends";
const IGNORED: &str = "a failed memory write is ignored";
const ILLEGAL: &str = "illegal header names and values do not trap";
const LAST_CHUNK: &str = "buffer_request keeps only the last chunk";
const OLD_LENGTH: &str = "a rewritten body keeps the old Content-Length";
const ONLY_START: &str = "only `_start` is run";
const LATE_HEAD: &str = "status or headers set after a body write, or headers after the status, are lost";
const SNIFFED: &str = "a response body written by a guest gets a sniffed content-type";
const SORTED: &str = "header names sorted";
const TRAILERS: &str = "add on a trailer overwrites; request trailers are taken from the response";

/// All cases. Those that need the same host stand together.
pub fn all() -> Vec<Case> {
    let themes: [fn() -> Vec<Case>; 11] = [
        phases::cases,
        limits::cases,
        pointers::cases,
        names::cases,
        uri::cases,
        status::cases,
        bodies::cases,
        framing::cases,
        response::cases,
        flow::cases,
        own_host::cases,
    ];
    themes.iter().flat_map(|cases| cases()).collect()
}
