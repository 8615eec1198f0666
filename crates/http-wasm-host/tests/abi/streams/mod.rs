//! Messages that are sent while the guest is writing them.

mod begun;
mod coded;
mod declared;
mod limits;
mod memory;
mod requests;
mod responses;
