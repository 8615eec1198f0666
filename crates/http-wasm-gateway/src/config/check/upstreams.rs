//! Checks upstreams: consistent addresses, and TLS.

use std::collections::{BTreeMap, BTreeSet};

use bytesize::ByteSize;
use http::uri::PathAndQuery;
use tokio_rustls::rustls::pki_types::ServerName;

use super::key_pair;
use super::values::{file, name};
use crate::config::fault::Fault;
use crate::config::model::{ForwardedHost, Upstream, UpstreamHttp};
use crate::config::read::{Context, Located, Size};
use crate::tls;

/// The usual size of a frame, and the largest window of which 100 fit into that of a connection.
const MIN_STREAM_WINDOW: Size = Size(16 * 1024);
const MAX_STREAM_WINDOW: Size = Size(20 * 1024 * 1024);

const MAX_HEADER_SIZE: Size = Size(1024 * 1024);

/// Returns the names of upstreams with errors.
pub(super) fn check(
    upstreams: &BTreeMap<String, Located<Upstream>>,
    context: &mut Context,
) -> BTreeSet<String> {
    let mut faulty = BTreeSet::new();
    for (upstream_name, upstream) in upstreams {
        let before = context.fault_count();
        name(upstream_name, upstream.key_span(), context);
        addresses(upstream, context);
        if let Some(health) = &upstream.health.active
            && !(health.path.starts_with('/') && health.path.parse::<PathAndQuery>().is_ok())
        {
            let message = format!("invalid path {:?}: expected one such as \"/healthz\"", health.path.value);
            context.at(health.path.span(), message);
        }
        if let Some(host) = &upstream.host
            && **host == ForwardedHost::Client
            && upstream.http == UpstreamHttp::Http2
        {
            let fault = Fault::new(host.span(), "the client's host can't be forwarded over HTTP/2");
            context.fault(fault.help("remove `host`, and let the upstream read X-Forwarded-Host"));
        }
        between(&upstream.stream_window, MIN_STREAM_WINDOW, MAX_STREAM_WINDOW, context);
        between(&upstream.max_response_header_size, Size(1), MAX_HEADER_SIZE, context);
        check_tls(upstream, context);
        if context.fault_count() > before {
            faulty.insert(upstream_name.clone());
        }
    }
    faulty
}

fn between(size: &Located<Size>, min: Size, max: Size, context: &mut Context) {
    if size.0 < min.0 || size.0 > max.0 {
        let [min, max] = [min, max].map(|size| ByteSize(size.0).display().iec().to_string());
        context.at(size.span(), format!("expected a size from {min} to {max}"));
    }
}

fn addresses(upstream: &Upstream, context: &mut Context) {
    let addresses = &upstream.addresses;
    for (index, address) in addresses.iter().enumerate() {
        let earlier = &addresses[..index];
        if let Some(first) = earlier.first().filter(|first| first.is_tls() != address.is_tls()) {
            let fault = Fault::new(address.span(), "an upstream can't mix http and https addresses");
            context.fault(fault.related(first.span(), "this one has the other scheme"));
        }
        if let Some(same) = earlier.iter().find(|same| same.value == address.value) {
            let fault = Fault::new(address.span(), "this address is listed twice");
            context.fault(fault.related(same.span(), "first listed here"));
        }
    }
}

fn check_tls(upstream: &Upstream, context: &mut Context) {
    let Some(tls) = &upstream.tls else { return };
    if let Some(plain) = upstream.addresses.iter().find(|address| !address.is_tls()) {
        let fault = Fault::new(tls.span(), "`tls` has no effect without an https address");
        context.fault(fault.related(plain.span(), "use https here, or remove `tls`"));
    }
    if let Some(ca) = &tls.ca
        && let Some(pem) = file(ca, "the CA file", context)
        && let Err(reason) = tls::roots(&pem)
    {
        context.at(ca.span(), format!("{}: {reason}", ca.display()));
    }
    if let Some(server_name) = &tls.server_name
        && ServerName::try_from(server_name.as_str()).is_err()
    {
        context.at(
            server_name.span(),
            format!("invalid server name {:?}: expected a host name or an IP address", server_name.value),
        );
    }
    if let Some(pair) = &tls.identity {
        key_pair::check(pair, context);
    }
}
