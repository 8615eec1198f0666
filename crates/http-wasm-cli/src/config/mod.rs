//! Arguments made sense of: files read, counts matched, values typed.

mod grants;
mod serve;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use http_wasm_tower::Snapshot;
use thiserror::Error;

use crate::args::{Args, BenchArgs, CheckArgs, CommandArgs, CompileArgs, ConfigCommand, GrantArgs, TckArgs};
use crate::bench::SampleRequest;
use crate::failure::plain;

pub(crate) use self::grants::{EnvVar, Grants, parse_mount};
pub(crate) use self::serve::Serve;
pub(crate) use self::upstream::Upstream;

/// What to do, with everything it takes.
#[derive(Debug)]
pub(crate) enum Command {
    Serve(Box<Serve>),
    Config(ConfigCommand),
    Check(Check),
    Bench(Box<Bench>),
    Compile(CompileArgs),
    Tck(TckArgs),
}

/// Everything `http-wasm check` takes.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) guest: GuestSpec,
    /// The snapshot to try, if one is asked for.
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) json: bool,
}

/// Everything `http-wasm bench` takes.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) guest: GuestSpec,
    pub(crate) request: SampleRequest,
    /// How long all the measuring may take.
    pub(crate) duration: Duration,
    pub(crate) json: bool,
}

/// A guest as it is asked for: its file is not read yet.
#[derive(Debug)]
pub(crate) struct GuestSpec {
    pub(crate) path: PathBuf,
    /// The bytes behind `get_config`.
    pub(crate) config: Vec<u8>,
    pub(crate) grants: Grants,
    pub(crate) snapshot: Snapshot,
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

    #[error("--request {}: {reason}", path.display())]
    RequestFile { path: PathBuf, reason: String },

    #[error(
        "{name} is no valid filter: {reason}; it is a level, or levels by target, as in \"info,http_wasm_gateway=debug\""
    )]
    LogFilter { name: &'static str, reason: String },

    #[error(transparent)]
    File(#[from] http_wasm_gateway::config::Faults),
}

impl Command {
    /// Reads the files that arguments name, guests excepted, and matches configurations to guests.
    pub(crate) fn resolve(args: Args) -> Result<Self, ConfigError> {
        match args.command {
            CommandArgs::Serve(args) => Serve::resolve(*args).map(|serve| Self::Serve(Box::new(serve))),
            CommandArgs::Config(args) => Ok(Self::Config(args.command)),
            CommandArgs::Check(args) => Check::resolve(args).map(Self::Check),
            CommandArgs::Bench(args) => Bench::resolve(args).map(|bench| Self::Bench(Box::new(bench))),
            CommandArgs::Compile(args) => Ok(Self::Compile(args)),
            CommandArgs::Tck(args) => Ok(Self::Tck(args)),
        }
    }
}

impl Check {
    fn resolve(args: CheckArgs) -> Result<Self, ConfigError> {
        let grants = resolve_grants(args.grants)?;
        let guest = GuestSpec::resolve(args.guest, args.guest_config, grants)?;
        Ok(Self { guest, snapshot: args.snapshot.map(Into::into), json: args.json })
    }
}

impl Bench {
    fn resolve(args: BenchArgs) -> Result<Self, ConfigError> {
        let request = match args.request {
            None => SampleRequest::default(),
            Some(path) => {
                SampleRequest::read(&path).map_err(|reason| ConfigError::RequestFile { path, reason })?
            }
        };
        let grants = resolve_grants(args.grants)?;
        Ok(Self {
            guest: GuestSpec {
                snapshot: args.snapshot.map_or(Snapshot::Off, Into::into),
                ..GuestSpec::resolve(args.guest, args.guest_config, grants)?
            },
            request,
            duration: Duration::from_secs(args.seconds),
            json: args.json,
        })
    }
}

impl GuestSpec {
    fn resolve(path: PathBuf, config: Option<String>, grants: Grants) -> Result<Self, ConfigError> {
        let config = resolve_config(config.unwrap_or_default())?;
        Ok(Self { path, config, grants, snapshot: Snapshot::Off })
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
