//! `--allow` and `--strict`: what is overlooked in how a guest was built, and what isn't.

use http_wasm_tower::Lint;

use super::choice::choice;

/// What is overlooked in how a guest was built, and what isn't.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct LintArgs {
    /// Check of how a guest was built that it is allowed to fail; repeatable [default: none]
    #[arg(long, value_name = "CHECK", value_parser = choice::<Lint>())]
    pub(crate) allow: Vec<Lint>,

    /// Treat warnings about a guest as errors
    #[arg(long)]
    pub(crate) strict: bool,
}
