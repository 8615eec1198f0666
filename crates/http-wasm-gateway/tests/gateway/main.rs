//! The gateway as a library: configurations from files, and their faults.

mod faults;
mod files;
mod full;
mod manual;
