//! `--allow` and `--strict`: how strictly the build of a guest is checked.

use http_wasm_tower::Lint;

use super::choice::choice;

/// Which findings about how a guest was built are allowed, and whether the others are errors.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct LintArgs {
    /// Check of the guest's build to ignore; repeatable [default: none]
    #[arg(long, value_name = "CHECK", value_parser = choice::<Lint>())]
    pub(crate) allow: Vec<Lint>,

    /// Treat warnings about a guest as errors
    #[arg(long)]
    pub(crate) strict: bool,
}
