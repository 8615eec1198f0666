//! All cases, by theme.

mod bodies;
mod differences;
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
