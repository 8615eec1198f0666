//! The configuration of `http-wasm serve`: from a file, or from flags.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use http_wasm_gateway::config::{
    Config, ConfigFile, ExtProc, Guest, GuestConfig, GuestSource, Listen, ListenEntry, Located, Log,
    MountPoint, Route,
};

use super::access_log::RequestLog;
use super::args::ServeArgs;
use super::upstream::Upstream;
use crate::args::{ArgsError, Grants, guest_config};

/// The guest that is served by default.
const WELCOME: &[u8] = include_bytes!("../../../../guests/welcome/welcome.wat");

/// What to serve.
#[derive(Debug)]
pub(crate) struct Serve {
    pub(crate) config: Config,
    /// The configuration file, for reloads.
    pub(crate) file: Option<ConfigFile>,
    /// Whether no arguments were given, so that the built-in example is served.
    pub(crate) shows_welcome: bool,
    /// Whether to mention that guests are reloaded, to a user at a terminal.
    pub(crate) mentions_reload: bool,
}

impl Serve {
    /// Reads the configuration, or builds it from flags.
    ///
    /// # Errors
    /// If the configuration or a file that a flag names can't be used.
    pub(super) fn resolve(args: ServeArgs) -> Result<Self, ArgsError> {
        if let Some(path) = &args.config {
            let (config, file) = ConfigFile::load(path)?;
            return Ok(Self { config, file: Some(file), shows_welcome: false, mentions_reload: false });
        }
        let (guests, configs) = (args.guests.len(), args.guest_configs.len());
        if configs > guests {
            return Err(ArgsError::MoreConfigsThanGuests { guests, configs });
        }
        let shows_welcome = args.guests.is_empty() && args.upstream.is_none();
        let is_terminal = std::io::stdout().is_terminal();
        let limits = args.limits.for_clients();
        let listen = ListenEntry(Listen { address: args.listen.into(), limits, ..Listen::default() });
        let mut config = Config {
            listen: Located::from(listen).into(),
            log: Log { format: args.log, filter: None },
            access_log: RequestLog::resolve(args.access_log, is_terminal),
            record: args.record.resolve(),
            ..Config::default()
        };
        args.limits.apply(&mut config.server);

        let mut route = Route { name: Some("default".to_owned().into()), ..Route::default() };
        let upstream = args.upstream.unwrap_or(Upstream::Echo);
        upstream.follow(&mut route, &mut config, args.limits.upstream_timeout);
        let grants = args.each_guest.grants.resolve()?;
        let mut configs = args.guest_configs.into_iter();
        let mut add = |name: String, mut guest: Guest| {
            args.each_guest.apply(&mut guest);
            let name = unused(&config, name);
            route.guests.push(name.clone().into());
            config.guests.insert(name, guest.into());
        };
        if shows_welcome {
            let path = GuestSource::Embedded("welcome", WELCOME).into();
            add("welcome".to_owned(), Guest { path, ..Guest::default() });
        }
        let mentions_reload = !args.guests.is_empty() && is_terminal;
        for path in args.guests {
            add(stem(&path), guest(path, configs.next(), &grants)?);
        }
        config.routes.push(route.into());
        Ok(Self { config, file: None, shows_welcome, mentions_reload })
    }

    /// The same for `http-wasm ext-proc`.
    ///
    /// # Errors
    /// As above, and if there are no guests.
    pub(super) fn resolve_ext_proc(args: ServeArgs) -> Result<Self, ArgsError> {
        if args.config.is_none() && args.guests.is_empty() {
            return Err(ArgsError::NoGuestForEnvoy);
        }
        if args.upstream.is_some() {
            return Err(ArgsError::UpstreamOfEnvoy);
        }
        if args.record.is_used() {
            return Err(ArgsError::RecordOfEnvoy);
        }
        let mut serve = Self::resolve(args)?;
        if serve.file.is_none() {
            for route in &mut serve.config.routes {
                (route.value.backend, route.value.ext_proc) = (None, Some(ExtProc::default().into()));
            }
        } else if serve.config.routes.iter().all(|route| route.ext_proc.is_none()) {
            return Err(ArgsError::NoRouteForEnvoy);
        }
        Ok(serve)
    }
}

/// The settings of a guest in this file.
///
/// # Errors
/// If the file with its configuration can't be read.
pub(crate) fn guest(path: PathBuf, config: Option<String>, grants: &Grants) -> Result<Guest, ArgsError> {
    let mut guest = Guest {
        path: GuestSource::File(path).into(),
        env: grants.env.iter().map(|var| (var.key.clone(), var.value.clone().into())).collect(),
        mounts: grants.mounts.iter().map(|mount| Located::from(MountPoint(mount.clone()))).collect(),
        ..Guest::default()
    };
    let config = config.unwrap_or_default();
    match config.strip_prefix('@') {
        None => guest.config = Some(GuestConfig(config).into()),
        Some(file) => {
            guest.config_file = Some(PathBuf::from(file).into());
            // Read here only to report early if that fails.
            guest_config(config)?;
        }
    }
    Ok(guest)
}

/// A guest is named after its file.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "guest".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// `name`, with a number appended if another guest already has it.
fn unused(config: &Config, name: String) -> String {
    let taken = |name: &String| config.guests.contains_key(name);
    if !taken(&name) {
        return name;
    }
    let mut numbered = (2..).map(|number| format!("{name}-{number}"));
    numbered.find(|name| !taken(name)).unwrap_or(name)
}
