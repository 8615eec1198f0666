//! What a guest may wait for, according to its module.

use super::inspect::Inspection;
use super::inspect::shim::{self, Shimmed};
use crate::abi::{FUNCTIONS, Function, MODULE, MayWait, Phase};
use crate::exchange::Waits;
use crate::run::wasi;

const WRITE_BODY: &str = "write_body";

/// Adds a suspension point at each import that may wait; `write_body` may, if the guest streams.
pub(crate) fn with_suspension_points(wasm: &[u8], pauses_writes: bool) -> Result<Shimmed, String> {
    let waits = |function: &Function| {
        function.may_wait != MayWait::No || pauses_writes && function.name == WRITE_BODY
    };
    let waiting = FUNCTIONS.iter().filter(|function| waits(function));
    let points: Vec<_> = waiting.map(|function| (MODULE, function.name)).chain(wasi::SUSPENDING).collect();
    shim::add_suspension_points(wasm, &points).map_err(|error| error.to_string())
}

/// What the guest's function for `phase` may wait for.
pub(super) fn of(inspection: &Inspection, phase: Phase) -> Waits {
    let reaches = |may_wait| {
        let mut waiting = FUNCTIONS.iter().filter(|function| function.may_wait == may_wait);
        waiting.any(|function| inspection.reaches_handler(phase, function.name))
    };
    Waits {
        for_bodies: reaches(MayWait::ForBody),
        for_trailers: reaches(MayWait::ForTrailers),
        enables_features: inspection.reaches_handler(phase, "enable_features"),
        sleeps: wasi::SUSPENDING.iter().any(|(_, name)| inspection.reaches_wasi(phase, name)),
    }
}

/// Whether the guest could read the request again in `handle_response`.
pub(super) fn reads_request(inspection: &Inspection) -> bool {
    let mut reading = FUNCTIONS.iter().filter(|function| function.reads_request);
    reading.any(|function| inspection.reaches_handler(Phase::Response, function.name))
}
