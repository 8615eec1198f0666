//! `http-wasm config`: check a configuration, and print the schema of all.

use std::fmt::Display;
use std::io::Write as _;

use http_wasm_gateway::Gateway;
use http_wasm_gateway::config::{Config, schema};

use crate::args::ConfigCommand;
use crate::config::ConfigError;
use crate::failure::Failure;
use crate::logging;

/// Does what was asked.
pub(crate) async fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&schema())
                .map_err(|error| Failure::Other(format!("cannot put the schema as JSON: {error}")))?;
            print(&schema)
        }
        ConfigCommand::Check { file } => {
            let config = Config::load(&file).map_err(ConfigError::from)?;
            logging::init(&config.log)?;
            for warning in config.permission_warnings(Some(&file)) {
                let _ = writeln!(std::io::stderr().lock(), "warning: {warning}");
            }
            let counts = format!(
                "{} guests, {} upstreams, {} routes",
                config.guests.len(),
                config.upstreams.len(),
                config.routes.len()
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
