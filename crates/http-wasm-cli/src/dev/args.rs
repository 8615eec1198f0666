//! The arguments of `http-wasm dev`.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_wasm_gateway::config::{
    Address, AnyTime, Config, Listen, ListenEntry, Located, Log, LogFormat, Route, Time,
};
use http_wasm_gateway::plain;

use super::build::Builder;
use crate::args::{ArgsError, choice};
use crate::serve::{GuestArgs, RecordArgs, Upstream, guest, stem};

/// How long an upstream may take to start its response.
const UPSTREAM_TIMEOUT: Time = Time::seconds(30);

/// How long requests may take to finish after a signal. This is short because the author is waiting.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Guest to run, a .wasm or .wat file, which is reloaded when it changes [default: guest.wasm in DIR if there is a
    /// build command, otherwise guest.wat]
    #[arg(value_name = "GUEST")]
    pub(crate) guest: Option<PathBuf>,

    /// Command that builds the guest, for the shell, in the directory DIR; it runs at the start and whenever a file in
    /// DIR changes [default: ./build.sh if there is no GUEST and DIR has this file]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) build: Option<String>,

    /// Directory with the guest's source. Typical build outputs aren't watched: `target`, `node_modules`, names that
    /// begin with a dot, and .wasm files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) watch: PathBuf,

    /// Address of the server, HOST:PORT, on this machine only; port 0 selects any free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: Address,

    /// Address of the page that shows recent exchanges, on this machine only
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    pub(crate) page: Address,

    /// Where requests go after the guest: an http:// or https:// URL, or a built-in backend: `echo` responds with the
    /// request as JSON, `hello` with `hello world`
    #[arg(long, value_name = "echo|hello|URL", default_value = "echo")]
    pub(crate) upstream: Upstream,

    /// Configuration of the guest: text, or @FILE for the content of a file, which is read again when it changes
    /// [default: empty]
    #[arg(long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) guest_config: Option<String>,

    /// Format of the log on stderr; RUST_LOG selects what is logged, `info` by default
    #[arg(long, value_name = "FORMAT", default_value = "pretty", value_parser = choice::<LogFormat>())]
    pub(crate) log: LogFormat,

    #[command(flatten)]
    pub(crate) settings: GuestArgs,

    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

/// What to serve, and how to build it.
pub(super) struct Dev {
    pub(super) config: Config,
    pub(super) guest: PathBuf,
    pub(super) builder: Option<Builder>,
    /// The directory with the guest's source, if it is built.
    pub(super) source: Option<PathBuf>,
    /// Files that the gateway reads.
    pub(super) inputs: Vec<PathBuf>,
    pub(super) page: SocketAddr,
}

impl Dev {
    /// Determines what to serve.
    ///
    /// # Errors
    /// If there is nothing to serve, a file is missing, or an address isn't a loopback address.
    pub(super) fn resolve(args: DevArgs) -> Result<Self, ArgsError> {
        let directory = args.watch;
        let found = std::fs::metadata(&directory).map_err(|error| plain(&error));
        if !found.map_err(|reason| ArgsError::flag("--watch", directory.display(), reason))?.is_dir() {
            let reason = "not a directory".to_owned();
            return Err(ArgsError::flag("--watch", directory.display(), reason));
        }
        let build = args.build.or_else(|| {
            let has_script = args.guest.is_none() && directory.join("build.sh").is_file();
            has_script.then(|| "./build.sh".to_owned())
        });
        let guest_path = match (args.guest, &build) {
            (Some(guest), _) => guest,
            (None, Some(_)) => directory.join("guest.wasm"),
            (None, None) => directory.join("guest.wat"),
        };
        if build.is_none() && !guest_path.is_file() {
            return Err(ArgsError::NothingToServe { path: guest_path });
        }
        let (listen, page) = (local("--listen", &args.listen)?, local("--page", &args.page)?);
        let grants = args.settings.grants.resolve()?;

        let listen = ListenEntry(Listen { address: address(listen), ..Listen::default() });
        let mut config = Config {
            listen: Located::from(listen).into(),
            log: Log { format: args.log, filter: None },
            record: args.record.resolve(),
            ..Config::default()
        };
        // This command watches the files itself.
        config.server.watch_files = false;
        config.server.drain_timeout = AnyTime(DRAIN_TIMEOUT);
        let mut route = Route { name: Some("default".to_owned().into()), ..Route::default() };
        args.upstream.follow(&mut route, &mut config, UPSTREAM_TIMEOUT);
        let mut settings = guest(guest_path.clone(), args.guest_config, &grants)?;
        args.settings.apply(&mut settings);
        let config_file = settings.config_file.as_ref().map(|file| file.value.clone());
        let name = stem(&guest_path);
        route.guests.push(name.clone().into());
        config.guests.insert(name, settings.into());
        config.routes.push(route.into());
        let inputs = std::iter::once(guest_path.clone()).chain(config_file).collect();
        let source = build.is_some().then(|| directory.clone());
        let builder = build.map(|command| Builder::new(command, directory));
        Ok(Self { config, guest: guest_path, builder, source, inputs, page })
    }

    /// The guest's name.
    pub(super) fn name(&self) -> String {
        stem(&self.guest)
    }

    /// The error message if a successful build hasn't written the guest.
    pub(super) fn missing(&self) -> Option<String> {
        let is_missing = self.builder.is_some() && !self.guest.is_file();
        is_missing.then(|| {
            format!(
                "the build did not write {}; if the guest has another name, pass it: http-wasm dev GUEST --build ..",
                self.guest.display()
            )
        })
    }
}

fn address(addr: SocketAddr) -> Located<Address> {
    addr.to_string().parse::<Address>().unwrap_or_default().into()
}

/// The first address of a name, if all of its addresses are loopback addresses.
fn local(flag: &'static str, address: &Address) -> Result<SocketAddr, ArgsError> {
    let refused = |reason| ArgsError::flag(flag, address, reason);
    let found: Vec<SocketAddr> =
        address.as_str().to_socket_addrs().map_err(|error| refused(plain(&error)))?.collect();
    match found.first() {
        Some(first) if found.iter().all(|addr| addr.ip().is_loopback()) => Ok(*first),
        _ => Err(refused(
            "not a loopback address, such as 127.0.0.1: `dev` serves this machine only, because it shows what it gets; \
             use `http-wasm serve` for others"
                .to_owned(),
        )),
    }
}

/// A path to show: relative to the current directory if possible.
pub(super) fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}
