//! The gateway as a library: configurations from files and their faults, and what clients meet.

mod faults;
mod files;
mod full;
mod limits;
mod limits_http2;
mod smuggling;
mod source;
mod support;
mod tls;
