//! What the kit's cases cover, and how it treats hosts that aren't set up. Also checks the line length in the entire
//! repository.

mod columns;
mod coverage;
mod docs;
mod setup;
