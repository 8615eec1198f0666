//! The arguments of `http-wasm profile`.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::args::{ArgsError, GrantArgs, GuestSpec, LintArgs, time_from};
use crate::exchange::{HarEntry, Next, SampleRequest, header_line};

#[derive(Debug, clap::Args)]
pub(crate) struct ProfileArgs {
    /// Guest to profile, a .wasm or .wat file
    #[arg(value_name = "GUEST")]
    pub(crate) guest: PathBuf,

    /// Path of the request, or a URL, whose host becomes the `host` header [default: /]
    #[arg(value_name = "URL", conflicts_with_all = ["request", "har"])]
    pub(crate) url: Option<String>,

    /// File with the request, in HTTP/1.1 format: head, empty line, body
    #[arg(long, value_name = "FILE", conflicts_with = "har")]
    pub(crate) request: Option<PathBuf>,

    /// HAR file with the request, and with the next handler's response unless there is --response
    #[arg(long, value_name = "FILE")]
    pub(crate) har: Option<PathBuf>,

    /// Number of the HAR file's entry
    #[arg(long, value_name = "N", default_value_t = 1, requires = "har")]
    pub(crate) entry: usize,

    /// Header of the request, after those that it has; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header_line)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,

    /// The next handler: a file with its response in HTTP/1.1 format, `echo` for the request as JSON, or an http:// URL
    /// to forward to [default: 200 with `hello world`]
    #[arg(long, value_name = "FILE|echo|URL")]
    pub(crate) response: Option<String>,

    /// How long to repeat the request
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time_from::<1>)]
    pub(crate) duration: Duration,

    /// Directory for the files NAME.folded and NAME.svg, where NAME is the guest's
    #[arg(short = 'o', long, value_name = "DIRECTORY", default_value = ".")]
    pub(crate) output: PathBuf,

    /// Configuration handed to the guest: text, or @FILE for a file's bytes [default: empty]
    #[arg(long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) guest_config: Option<String>,

    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    #[command(flatten)]
    pub(crate) lints: LintArgs,
}

/// What to profile.
pub(super) struct Profile {
    pub(super) guest: GuestSpec,
    pub(super) request: SampleRequest,
    pub(super) next: Next,
    pub(super) duration: Duration,
    pub(super) output: PathBuf,
}

impl Profile {
    /// Reads the files that arguments name, but not the guest.
    ///
    /// # Errors
    /// When one of them can't be read, or holds something else.
    pub(super) fn resolve(args: ProfileArgs) -> Result<Self, ArgsError> {
        let grants = args.grants.resolve()?;
        let guest = GuestSpec::resolve(args.guest, args.guest_config, grants)?;
        let guest = GuestSpec { lints: args.lints, ..guest };
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
            (None, None) => {
                let mut request = SampleRequest::default();
                if let Some(url) = &args.url {
                    request.set_url(url).map_err(|reason| ArgsError::flag("URL", url, reason))?;
                }
                request.frame();
                (request, None)
            }
        };
        request.headers.extend(args.headers);
        let next = match args.response {
            Some(text) => {
                Next::parse(&text).map_err(|reason| ArgsError::flag("--response", &text, reason))?
            }
            None => recorded.map_or_else(Next::default, Next::Fixed),
        };
        Ok(Self { guest, request, next, duration: args.duration, output: args.output })
    }
}
