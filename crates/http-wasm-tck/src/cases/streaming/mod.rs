//! Messages that are sent while the guest is writing them. The rules are in `docs/streaming.md`.

mod decoded;
mod request_exchanges;
mod request_outcomes;
mod requests;
mod responses;
mod shared;

use crate::case::Case;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = responses::cases();
    requests::cases(&mut cases);
    request_outcomes::cases(&mut cases);
    decoded::cases(&mut cases);
    cases
}
