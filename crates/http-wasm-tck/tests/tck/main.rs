//! The kit's own promises: what its cases cover, and how it treats hosts that are not set up. And how long the lines of
//! the whole repository are.

mod columns;
mod coverage;
mod docs;
mod setup;
