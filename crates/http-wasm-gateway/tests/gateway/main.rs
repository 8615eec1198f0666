//! The gateway as a library: configuration files and their errors, the behaviour towards clients, and what operators
//! see.

mod abandoned;
mod access_log;
mod admin;
mod admin_listeners;
mod body_memory;
#[path = "../common/browser.rs"]
mod browser;
mod decoded;
mod early_answers;
mod early_hints;
mod ext_proc;
mod faults;
mod files;
mod framing_pairs;
mod full;
mod half_close;
mod limits;
mod limits_http2;
mod manual;
mod metrics;
mod open_metrics;
mod page;
mod paths;
mod references;
mod refused;
mod request_streams;
mod responses;
mod served;
mod smuggling;
mod source;
mod streams;
mod support;
mod tls;
mod traces;
mod warnings;
