//! The gateway as a library: configurations from files and their faults, and what operators see of one that serves.

mod access_log;
mod admin;
mod faults;
mod files;
mod full;
mod metrics;
mod open_metrics;
mod page;
mod served;
mod traces;
