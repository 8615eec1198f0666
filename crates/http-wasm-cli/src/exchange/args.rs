//! The arguments for one exchange: a request, and the next handler's response.

use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};

use super::har::HarEntry;
use super::next::Next;
use super::request::{SampleRequest, header_line};
use crate::args::ArgsError;

/// A request, and the next handler's response.
#[derive(Debug, clap::Args)]
pub(crate) struct ExchangeArgs {
    /// Path of the request, or a URL, whose host becomes the `host` header [default: /]
    #[arg(value_name = "URL", conflicts_with_all = ["request", "har"])]
    url: Option<String>,

    /// Method of the request [default: GET, or POST with --data]
    #[arg(short = 'X', long, value_name = "METHOD", conflicts_with_all = ["request", "har"])]
    method: Option<Method>,

    /// Header to add to the request; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header_line)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// Body of the request: text, or @FILE for the content of a file
    #[arg(short = 'd', long, value_name = "TEXT|@FILE", allow_hyphen_values = true,
        conflicts_with_all = ["request", "har"])]
    data: Option<String>,

    /// File with the request, in HTTP/1.1 format: head, empty line, body
    #[arg(long, value_name = "FILE", conflicts_with = "har")]
    request: Option<PathBuf>,

    /// HAR file with the request, and with the next handler's response unless there is --response
    #[arg(long, value_name = "FILE")]
    har: Option<PathBuf>,

    /// Number of the entry in the HAR file
    #[arg(long, value_name = "N", default_value_t = 1, requires = "har")]
    entry: usize,

    /// The next handler: a file with its response in HTTP/1.1 format, `echo` for the request as JSON, an http:// URL to
    /// forward to, or `none` for no response [default: 200 with `hello world`]
    #[arg(long, value_name = "FILE|echo|URL|none")]
    response: Option<String>,
}

impl ExchangeArgs {
    /// Reads the files that the arguments name.
    ///
    /// # Errors
    /// If one of them can't be read or has the wrong format.
    pub(crate) fn resolve(self) -> Result<(SampleRequest, Next), ArgsError> {
        let (mut request, recorded) = match (self.request, self.har) {
            (Some(path), _) => {
                let request = SampleRequest::read(&path);
                (request.map_err(|reason| ArgsError::flag("--request", path.display(), reason))?, None)
            }
            (None, Some(path)) => {
                let entry = HarEntry::read(&path, self.entry);
                let entry = entry.map_err(|reason| ArgsError::flag("--har", path.display(), reason))?;
                (entry.request, entry.response)
            }
            (None, None) => (from_flags(self.url, self.method, self.data)?, None),
        };
        for (name, value) in self.headers {
            // There is only one host, and a given one replaces the default.
            match name {
                header::HOST => drop(request.headers.insert(name, value)),
                _ => drop(request.headers.append(name, value)),
            }
        }
        let next = match self.response {
            Some(text) => {
                Next::parse(&text).map_err(|reason| ArgsError::flag("--response", &text, reason))?
            }
            None => recorded.map_or_else(Next::default, Next::Fixed),
        };
        Ok((request, next))
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
