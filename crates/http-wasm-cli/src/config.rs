//! `http-wasm config`: checks a configuration, or prints the schema.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use http_wasm_gateway::config::{Log, schema};
use http_wasm_gateway::{Gateway, counted};

use crate::args::ArgsError;
use crate::failure::Failure;
use crate::output::print;
use crate::{logging, runtime};

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file, the files that it refers to, and its guests, without serving
    ///
    /// Exits with 0 if the configuration is valid, with 2 if it has errors, and with 65 if the only errors are guests
    /// that can't be loaded.
    Check {
        /// Configuration to check
        #[arg(value_name = "FILE")]
        file: PathBuf,

        /// Treat warnings as errors
        #[arg(long)]
        strict: bool,
    },
    /// Print the JSON schema of configuration files, for editors
    Schema,
}

/// Checks a configuration, or prints the schema.
pub(crate) fn run(args: ConfigArgs) -> Result<(), Failure> {
    runtime::block_on(run_command(args.command))
}

async fn run_command(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&schema())
                .map_err(|error| Failure::Other(format!("cannot write the schema as JSON: {error}")))?;
            print(&format!("{schema}\n"))
        }
        ConfigCommand::Check { file, strict } => check(&file, strict).await,
    }
}

async fn check(file: &Path, strict: bool) -> Result<(), Failure> {
    // The report has the warnings about guests, so the log needn't repeat them.
    logging::init(&Log { filter: Some("error".to_owned().into()), ..Log::default() })?;
    let (config, warnings) = Gateway::check(file).await?;
    let permissions = config.permission_warnings(Some(file));
    for warning in &permissions {
        let _ = writeln!(std::io::stderr().lock(), "warning: {warning}");
    }
    let count = warnings.iter().len() + permissions.len();
    if count > 0 && strict {
        if !warnings.is_empty() {
            return Err(ArgsError::from(warnings).into());
        }
        let (file, count) = (file.display(), counted(count, "warning"));
        return Err(ArgsError::Warnings { file: file.to_string(), count }.into());
    }
    if !warnings.is_empty() {
        let _ = writeln!(std::io::stderr().lock(), "{}\n", logging::escaped(&warnings.to_string()));
    }
    let counts = [
        counted(config.guests.len(), "guest"),
        counted(config.upstreams.len(), "upstream"),
        counted(config.routes.len(), "route"),
        counted(count, "warning"),
    ];
    let shown = if count > 0 { &counts[..] } else { &counts[..3] };
    print(&format!("{}: valid ({})\n", file.display(), shown.join(", ")))
}
