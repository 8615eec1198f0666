//! `http-wasm config`: check a configuration, or print the schema.

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Subcommand;
use http_wasm_gateway::config::{Config, schema};
use http_wasm_gateway::{Gateway, counted};

use crate::args::ArgsError;
use crate::failure::Failure;
use crate::{logging, runtime};

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file, the files that it refers to, and its guests, without serving
    Check {
        /// Configuration to check
        #[arg(value_name = "FILE")]
        file: PathBuf,
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
            print(&schema)
        }
        ConfigCommand::Check { file } => {
            let config = Config::load(&file).map_err(ArgsError::from)?;
            logging::init(&config.log)?;
            for warning in config.permission_warnings(Some(&file)) {
                let _ = writeln!(std::io::stderr().lock(), "warning: {warning}");
            }
            let counts = format!(
                "{}, {}, {}",
                counted(config.guests.len(), "guest"),
                counted(config.upstreams.len(), "upstream"),
                counted(config.routes.len(), "route")
            );
            Gateway::check(&config).await?;
            print(&format_args!("{}: valid ({counts})", file.display()))
        }
    }
}

fn print(text: &dyn Display) -> Result<(), Failure> {
    let written = writeln!(std::io::stdout().lock(), "{text}");
    written.map_err(|error| Failure::Other(format!("cannot write the result: {error}")))
}
