//! The arguments of `http-wasm run`.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use http_wasm_tower::Limits;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{ArgsError, GrantArgs, GuestSpec, LintArgs};
use crate::exchange::{CLIENT, HarEntry, Next, SampleRequest, header_line};

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Guest to run, a .wasm or .wat file
    #[arg(value_name = "GUEST")]
    pub(crate) guest: PathBuf,

    /// Path of the request, or a URL, whose host becomes the `host` header [default: /]
    #[arg(value_name = "URL", conflicts_with_all = ["request", "har"])]
    pub(crate) url: Option<String>,

    /// Method of the request [default: GET, or POST with --data]
    #[arg(short = 'X', long, value_name = "METHOD", conflicts_with_all = ["request", "har"])]
    pub(crate) method: Option<Method>,

    /// Header of the request, after those that it has; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header_line)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,

    /// Body of the request: text, or @FILE for a file's bytes
    #[arg(short = 'd', long, value_name = "TEXT|@FILE", allow_hyphen_values = true,
        conflicts_with_all = ["request", "har"])]
    pub(crate) data: Option<String>,

    /// File with the request, in HTTP/1.1 format: head, empty line, body
    #[arg(long, value_name = "FILE", conflicts_with = "har")]
    pub(crate) request: Option<PathBuf>,

    /// HAR file with the request, and with the next handler's response unless there is --response
    #[arg(long, value_name = "FILE")]
    pub(crate) har: Option<PathBuf>,

    /// Number of the HAR file's entry
    #[arg(long, value_name = "N", default_value_t = 1, requires = "har")]
    pub(crate) entry: usize,

    /// The next handler: a file with its response in HTTP/1.1 format, `echo` for the request as JSON, an http:// URL to
    /// forward to, or `none` to give no response [default: 200 with `hello world`]
    #[arg(long, value_name = "FILE|echo|URL|none")]
    pub(crate) response: Option<String>,

    /// Show each host call of the guest, with what happens around it
    #[arg(long)]
    pub(crate) trace: bool,

    /// Print JSON, an object per line
    #[arg(long)]
    pub(crate) json: bool,

    /// Address of the client
    #[arg(long, value_name = "IP:PORT", default_value_t = CLIENT)]
    pub(crate) client: SocketAddr,

    /// Level from which the guest's log is on: off, error, warn, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LevelFilter,

    /// Configuration handed to the guest: text, or @FILE for a file's bytes [default: empty]
    #[arg(long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) guest_config: Option<String>,

    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    #[command(flatten)]
    pub(crate) lints: LintArgs,
}

/// What to run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) guest: GuestSpec,
    pub(crate) request: SampleRequest,
    pub(crate) next: Next,
    pub(crate) client: SocketAddr,
    pub(crate) log_level: LevelFilter,
    pub(crate) trace: bool,
    pub(crate) json: bool,
}

impl Run {
    /// Reads the files that arguments name, but not the guest.
    ///
    /// # Errors
    /// When one of them can't be read, or holds something else.
    pub(super) fn resolve(args: RunArgs) -> Result<Self, ArgsError> {
        let grants = args.grants.resolve()?;
        let guest = GuestSpec::resolve(args.guest, args.guest_config, grants)?;
        // A trace is of use only with every line.
        let limits = Limits { log_rate: u32::MAX, ..Limits::default() };
        let guest = GuestSpec { lints: args.lints, limits, ..guest };
        let (mut request, recorded) = match (args.request, args.har) {
            (Some(path), _) => {
                let request = SampleRequest::read(&path);
                (request.map_err(|reason| ArgsError::flag("--request", path.display(), reason))?, None)
            }
            (None, Some(path)) => {
                let entry = HarEntry::read(&path, args.entry);
                let entry = entry.map_err(|reason| ArgsError::flag("--har", path.display(), reason))?;
                (entry.request, entry.response)
            }
            (None, None) => (from_flags(args.url, args.method, args.data)?, None),
        };
        for (name, value) in args.headers {
            // There is one host, and the default one is only a stand-in.
            match name {
                header::HOST => drop(request.headers.insert(name, value)),
                _ => drop(request.headers.append(name, value)),
            }
        }
        let next = match args.response {
            Some(text) => {
                Next::parse(&text).map_err(|reason| ArgsError::flag("--response", &text, reason))?
            }
            None => recorded.map_or_else(Next::default, Next::Fixed),
        };
        let RunArgs { client, log_level, trace, json, .. } = args;
        Ok(Self { guest, request, next, client, log_level, trace, json })
    }
}

fn from_flags(
    url: Option<String>,
    method: Option<Method>,
    data: Option<String>,
) -> Result<SampleRequest, ArgsError> {
    let mut request = SampleRequest::default();
    if let Some(url) = &url {
        request.set_url(url).map_err(|reason| ArgsError::flag("URL", url, reason))?;
    }
    request.body = match &data {
        None => Bytes::new(),
        Some(data) => match data.strip_prefix('@') {
            None => data.clone().into(),
            Some(path) => std::fs::read(path)
                .map_err(|error| ArgsError::flag("--data", data, crate::failure::plain(&error)))?
                .into(),
        },
    };
    request.method = method.unwrap_or(if data.is_some() { Method::POST } else { Method::GET });
    request.frame();
    Ok(request)
}
