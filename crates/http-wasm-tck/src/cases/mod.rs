//! All cases, by theme.

mod bodies;
mod differences;
mod flow;
mod framing;
mod limits;
mod names;
mod own_host;
mod phase_bodies;
mod phases;
mod pointers;
mod response;
mod shared;
mod status;
mod streaming;
mod trailers;
mod uri;
mod values;

use crate::case::Case;

/// All cases. Those that need the same host are adjacent.
pub fn all() -> Vec<Case> {
    let themes: [fn() -> Vec<Case>; 15] = [
        phases::cases,
        phase_bodies::cases,
        limits::cases,
        pointers::cases,
        names::cases,
        values::cases,
        uri::cases,
        status::cases,
        bodies::cases,
        framing::cases,
        trailers::cases,
        response::cases,
        flow::cases,
        streaming::cases,
        own_host::cases,
    ];
    themes.iter().flat_map(|cases| cases()).collect()
}
