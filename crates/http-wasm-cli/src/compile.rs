//! `http-wasm compile`: machine code for `serve --trust-precompiled`.

use std::path::PathBuf;

use http_wasm_tower::{Guest, LoadError};

use crate::failure::{Failure, plain};

#[derive(Debug, clap::Args)]
pub(crate) struct CompileArgs {
    /// Guest to compile, a .wasm or .wat file
    #[arg(value_name = "FILE")]
    guest: PathBuf,

    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Compiles the guest and writes the result, all of it or none.
pub(crate) fn run(args: &CompileArgs) -> Result<(), Failure> {
    let path = args.guest.clone();
    let bytes = std::fs::read(&path).map_err(|source| LoadError::Read { path, source })?;
    let name = args.guest.file_stem().map_or("guest".into(), |stem| stem.to_string_lossy());
    let engine = http_wasm_tower::Engine::new()?;
    let compiled = Guest::builder(&engine).name(name).precompile(&bytes)?;

    let cannot = |error: std::io::Error| {
        Failure::Other(format!("cannot write {}: {}", args.output.display(), plain(&error)))
    };
    // A server may be reading the old one.
    let mut partial = args.output.clone().into_os_string();
    partial.push(".partial");
    std::fs::write(&partial, compiled).map_err(cannot)?;
    std::fs::rename(&partial, &args.output).map_err(cannot)
}
