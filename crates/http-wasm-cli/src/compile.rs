//! `http-wasm compile`: machine code for `serve --trust-precompiled`.

use std::path::PathBuf;

use http_wasm_tower::LoadError;

use crate::args::{GrantArgs, GuestSpec, LintArgs};
use crate::failure::{Failure, plain};
use crate::{guest, logging};

#[derive(Debug, clap::Args)]
pub(crate) struct CompileArgs {
    /// Guest to compile, a .wasm or .wat file
    #[arg(value_name = "FILE")]
    guest: PathBuf,

    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Configuration of the guest when it is started for the checks: text, or @FILE for the content of a file [default:
    /// empty]
    #[arg(long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    guest_config: Option<String>,

    #[command(flatten)]
    grants: GrantArgs,

    #[command(flatten)]
    lints: LintArgs,
}

/// Compiles the guest, checks how it was built, and writes the result atomically.
pub(crate) fn run(args: CompileArgs) -> Result<(), Failure> {
    let CompileArgs { guest: path, output, guest_config, grants, lints } = args;
    logging::init_for_check()?;
    let bytes = std::fs::read(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
    let name = path.file_stem().map_or("guest".into(), |stem| stem.to_string_lossy().into_owned());
    let strict = lints.strict;
    let spec = GuestSpec { lints, ..GuestSpec::resolve(path, guest_config, grants.resolve()?)? };
    let engine = http_wasm_tower::Engine::new()?;
    let builder = guest::builder(&engine, &spec).name(name);
    let compiled = builder.precompile(&bytes)?;
    match builder.trust_precompiled().load(&compiled) {
        Ok(loaded) => guest::print_warnings(&loaded),
        // It may need something that only its server provides.
        Err(error @ LoadError::Start(_)) if !strict => guest::print_warning(&format!(
            "skipped the checks of how the guest was built, because it doesn't start here: {error}"
        )),
        Err(error) => return Err(error.into()),
    }

    let cannot = |error: std::io::Error| {
        Failure::Other(format!("cannot write {}: {}", output.display(), plain(&error)))
    };
    // A server may be reading the old file.
    let mut partial = output.clone().into_os_string();
    partial.push(".partial");
    std::fs::write(&partial, compiled).map_err(cannot)?;
    std::fs::rename(&partial, &output).map_err(cannot)
}
