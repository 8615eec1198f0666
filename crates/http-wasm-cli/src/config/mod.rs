//! Arguments made sense of: files read, counts matched, values typed.

mod grants;
mod listen;

use std::path::PathBuf;
use std::time::Duration;

use http_wasm_gateway::Upstream;
use thiserror::Error;

use crate::args::{Args, CheckArgs, CommandArgs, GrantArgs, LogFormat, ServeArgs, TckArgs};
use crate::failure::plain;

pub(crate) use self::grants::{EnvVar, Grants, parse_mount};
pub(crate) use self::listen::Listen;

/// What to do, with everything it takes.
#[derive(Debug)]
pub(crate) enum Command {
    Serve(Serve),
    Check(Check),
    Tck(TckArgs),
}

/// Everything `http-wasm serve` takes.
#[derive(Debug)]
pub(crate) struct Serve {
    pub(crate) listen: Listen,
    /// The chain, outermost first.
    pub(crate) guests: Guests,
    pub(crate) upstream: Upstream,
    /// Requests in flight at once.
    pub(crate) max_requests: usize,
    pub(crate) log: LogFormat,
    pub(crate) upstream_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
}

/// The guests to serve.
#[derive(Debug)]
pub(crate) enum Guests {
    /// Those named, none among them.
    Named(Vec<GuestSpec>),
    /// The embedded example: nothing was asked for, so something is shown.
    Example,
}

/// Everything `http-wasm check` takes.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) guest: GuestSpec,
    pub(crate) json: bool,
}

/// A guest as it is asked for: its file is not read yet.
#[derive(Debug)]
pub(crate) struct GuestSpec {
    pub(crate) path: PathBuf,
    /// The bytes behind `get_config`.
    pub(crate) config: Vec<u8>,
    pub(crate) grants: Grants,
}

/// The command line can't be followed.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error(
        "{configs} --guest-config for {guests} --guest: the n-th --guest-config belongs to the n-th --guest, so there \
         can't be more of them"
    )]
    MoreConfigsThanGuests { guests: usize, configs: usize },

    #[error("--guest-config @{}: {reason}", path.display())]
    ConfigFile { path: PathBuf, reason: String },

    #[error("--mount {}: {reason}", path.display())]
    MountDirectory { path: PathBuf, reason: String },

    #[error("RUST_LOG is no valid filter: {0}")]
    LogFilter(String),
}

impl Command {
    /// Reads the files that arguments name, guests excepted, and matches configurations to guests.
    pub(crate) fn resolve(args: Args) -> Result<Self, ConfigError> {
        match args.command {
            CommandArgs::Serve(args) => Serve::resolve(args).map(Self::Serve),
            CommandArgs::Check(args) => Check::resolve(args).map(Self::Check),
            CommandArgs::Tck(args) => Ok(Self::Tck(args)),
        }
    }
}

impl Serve {
    fn resolve(args: ServeArgs) -> Result<Self, ConfigError> {
        let (guests, configs) = (args.guests.len(), args.guest_configs.len());
        if configs > guests {
            return Err(ConfigError::MoreConfigsThanGuests { guests, configs });
        }
        let grants = resolve_grants(args.grants)?;
        let mut configs = args.guest_configs.into_iter();
        let guests = args
            .guests
            .into_iter()
            .map(|path| GuestSpec::resolve(path, configs.next(), grants.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        let guests = match (guests.is_empty(), &args.upstream) {
            (true, None) => Guests::Example,
            _ => Guests::Named(guests),
        };
        Ok(Self {
            listen: args.listen,
            guests,
            upstream: args.upstream.unwrap_or(Upstream::Echo),
            max_requests: args.max_requests as usize,
            log: args.log,
            upstream_timeout: Duration::from_secs(args.upstream_timeout),
            shutdown_timeout: Duration::from_secs(args.shutdown_timeout),
        })
    }
}

impl Check {
    fn resolve(args: CheckArgs) -> Result<Self, ConfigError> {
        let grants = resolve_grants(args.grants)?;
        Ok(Self { guest: GuestSpec::resolve(args.guest, args.guest_config, grants)?, json: args.json })
    }
}

impl GuestSpec {
    fn resolve(path: PathBuf, config: Option<String>, grants: Grants) -> Result<Self, ConfigError> {
        Ok(Self { path, config: resolve_config(config.unwrap_or_default())?, grants })
    }
}

fn resolve_grants(args: GrantArgs) -> Result<Grants, ConfigError> {
    let grants = Grants { env: args.env, mounts: args.mounts };
    grants.check()?;
    Ok(grants)
}

fn resolve_config(value: String) -> Result<Vec<u8>, ConfigError> {
    match value.strip_prefix('@') {
        None => Ok(value.into_bytes()),
        Some(path) => std::fs::read(path)
            .map_err(|error| ConfigError::ConfigFile { path: path.into(), reason: plain(&error) }),
    }
}
