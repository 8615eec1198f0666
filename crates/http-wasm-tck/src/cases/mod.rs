//! All cases, by theme.

mod phases;

use crate::case::Case;

/// All cases. Those that need the same host stand together.
pub fn all() -> Vec<Case> {
    let themes: [fn() -> Vec<Case>; 1] = [phases::cases];
    themes.iter().flat_map(|cases| cases()).collect()
}
