//! The arguments of `http-wasm test`.

use std::path::PathBuf;

use crate::args::{GrantArgs, LintArgs};

#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// Guest to test, a .wasm or .wat file
    #[arg(value_name = "GUEST", required_unless_present = "schema")]
    pub(crate) guest: Option<PathBuf>,

    /// File with the cases, in TOML
    #[arg(value_name = "TESTS.toml", required_unless_present = "schema")]
    pub(crate) tests: Option<PathBuf>,

    /// Run only the cases whose names contain this text [default: all]
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,

    /// Write the results to this file, in JUnit XML format
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    /// Update expectations in the file to the actual results, and add expectations to cases without any; comments and
    /// layout are kept
    #[arg(long, conflicts_with = "watch")]
    pub(crate) update: bool,

    /// Run again whenever the guest or the file changes, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,

    /// List all cases, not only those that fail
    #[arg(long, short)]
    pub(crate) verbose: bool,

    /// Print the JSON schema of the file, for editors, and exit
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,

    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    #[command(flatten)]
    pub(crate) lints: LintArgs,
}
