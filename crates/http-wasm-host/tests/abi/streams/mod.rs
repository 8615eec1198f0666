//! Messages that are sent while the guest is writing them.

mod begun;
mod coded;
mod declared;
mod limits;
mod requests;
mod responses;
