//! Messages that are sent while the guest is writing them.

mod coded;
mod declared;
mod limits;
mod memory;
mod open;
mod requests;
mod responses;
