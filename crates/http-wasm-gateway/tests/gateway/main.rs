//! The gateway as a library: configurations from files and their faults, what clients meet, and what operators see.

mod access_log;
mod admin;
mod body_memory;
mod early_answers;
mod early_hints;
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
mod refused;
mod responses;
mod served;
mod smuggling;
mod source;
mod support;
mod tls;
mod traces;
