//! Logs and traces, and the settings of the gateway as a whole.

use http::Uri;
use tracing_subscriber::EnvFilter;

use crate::config::fault::Fault;
use crate::config::model::{CodeCache, Config};
use crate::config::read::Context;

pub(super) fn check(config: &Config, context: &mut Context) {
    if let Some(telemetry) = &config.telemetry {
        let endpoint = &telemetry.otlp_endpoint;
        let is_url = endpoint
            .parse::<Uri>()
            .is_ok_and(|url| url.host().is_some() && matches!(url.scheme_str(), Some("http" | "https")));
        if endpoint.was_read() && !is_url {
            let fault = Fault::new(endpoint.span(), format!("invalid URL {:?}", endpoint.value));
            context.fault(
                fault.help(
                    "expected the URL of a collector for OTLP over HTTP, such as http://127.0.0.1:4318",
                ),
            );
        }
    }
    if let Some(filter) = &config.log.filter
        && let Err(error) = EnvFilter::builder().parse(&**filter)
    {
        let fault = Fault::new(filter.span(), format!("invalid log filter {:?}: {error}", filter.value));
        context.fault(
            fault.help("expected a level, or levels by target, as in \"info,http_wasm_gateway=debug\""),
        );
    }
    if let Some(file) = config.access_log.as_ref().and_then(|log| log.file.as_ref()) {
        let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
        if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
            let message = format!("the directory {} doesn't exist", directory.display());
            context.fault(
                Fault::new(file.span(), message).help("the gateway creates the file, but no directories"),
            );
        } else if file.is_dir() {
            context.at(file.span(), format!("{} is a directory; expected a file", file.display()));
        }
    }
    if let Some(dir) = config.record.as_ref().map(|record| &record.dir).filter(|dir| dir.was_read()) {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        if dir.exists() && !dir.is_dir() {
            context
                .at(dir.span(), format!("{} is not a directory; expected one for recordings", dir.display()));
        } else if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            let message = format!("the directory {} doesn't exist", parent.display());
            context.fault(
                Fault::new(dir.span(), message)
                    .help("the gateway creates one directory, but not those above it"),
            );
        }
    }
    let cache = config.server.code_cache.as_ref().and_then(CodeCache::directory);
    if let Some(cache) = cache.filter(|cache| cache.exists() && !cache.is_dir()) {
        context.at(
            cache.span(),
            format!("{} is not a directory; expected one for compiled guests", cache.display()),
        );
    }
}
