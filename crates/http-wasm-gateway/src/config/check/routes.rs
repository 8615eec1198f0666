//! Routes: what they refer to, and their fixed responses.

use std::ops::Range;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::values::name;
use super::{shadow, unused};
use crate::config::fault::Fault;
use crate::config::model::{
    Config, EscapedSlashes, HeaderMatch, Redirect, RedirectTarget, Respond, Route, RouteScheme, Stream,
};
use crate::config::read::{Context, Located, suggestion};

pub(super) fn check(config: &Config, context: &mut Context) {
    for (index, route) in config.routes.iter().enumerate() {
        let earlier = &config.routes[..index];
        route_name(route, index, config, context);
        for guest in &route.guests {
            reference(guest, "guest", config.guests.keys(), context);
        }
        if let Some(upstream) = &route.upstream {
            reference(upstream, "upstream", config.upstreams.keys(), context);
        }
        for address in route.listen.iter() {
            let known = config.listen.iter().map(|listen| listen.address.as_str());
            if address.was_read() && !known.clone().any(|listen| listen == address.as_str()) {
                let help = suggestion(address.as_str(), known.clone())
                    .unwrap_or_else(|| format!("listeners: {}", known.collect::<Vec<_>>().join(", ")));
                let message = format!("no listener has the address {:?}", address.as_str());
                context.fault(Fault::new(address.span(), message).help(help));
            }
        }
        for (header, condition) in &route.headers {
            header_name(header, condition.key_span(), context);
            if let HeaderMatch::Value(value) = &condition.value {
                header_value(header, value, condition.span(), context);
            }
        }
        escaped_slashes(route, context);
        if let Some(ext_proc) = &route.ext_proc
            && route.guests.is_empty()
            && !route.was_read_in_part()
        {
            let fault =
                Fault::new(ext_proc.span(), "this route has `ext_proc`, but no guests to run for Envoy");
            context.fault(fault.help("name them: guests = [\"NAME\"]"));
        }
        if route.ext_proc.is_some() {
            for guest in &route.guests {
                if config.guests.get(&guest.value).is_some_and(|its| its.stream != Stream::Off) {
                    let message = "a guest of a route with `ext_proc` can't have `stream`";
                    let fault = Fault::new(guest.span(), message);
                    context.fault(fault.help("use the guest without `stream` here, under another name"));
                }
            }
        }
        connect(route, context);
        if let Some(redirect) = &route.redirect {
            check_redirect(redirect, route, config, context);
        }
        if let Some(respond) = &route.respond {
            check_respond(respond, context);
        }
        // If a condition couldn't be read, its route would seem to match everything.
        let mut shadows = earlier.iter().filter(|earlier| !earlier.was_read_in_part());
        if !route.was_read_in_part()
            && let Some(shadow) = shadows.find(|earlier| shadow::covers(earlier, route))
        {
            let fault = Fault::new(route.span(), "no request can reach this route");
            let fault = fault.related(shadow.span(), "this earlier route matches all of its requests");
            context.fault(fault.help("routes are tried in order: put the more specific one first"));
        }
    }
}

/// An escaped slash is part of a segment only with `keep`: otherwise the path has another reading, which this route
/// doesn't match.
fn escaped_slashes(route: &Located<Route>, context: &mut Context) {
    let path = route.path.as_ref().map(|path| (path.as_str(), path.span()));
    let prefix = route.path_prefix.as_ref().map(|prefix| (prefix.as_str(), prefix.span()));
    let pattern = route.path_pattern.as_ref().map(|pattern| (pattern.as_str(), pattern.span()));
    let escapes = |path: &str| path.contains("%2F") || path.contains('\\');
    if route.escaped_slashes != EscapedSlashes::Keep
        && let Some((path, at)) = path.or(prefix).or(pattern).filter(|(path, _)| escapes(path))
        && !route.was_read_in_part()
    {
        let what = if path.contains('\\') { "a backslash" } else { "an encoded slash" };
        let fault = Fault::new(at, format!("no request can reach this route: the path has {what}"));
        context.fault(fault.help(match route.escaped_slashes {
            EscapedSlashes::Decode => "escaped_slashes = \"decode\" makes it a slash: write `/`",
            _ => "add escaped_slashes = \"keep\" if the upstream treats it as part of a segment",
        }));
    }
}

/// Neither upstreams nor backends get CONNECT requests, and no fixed response opens a tunnel.
fn connect(route: &Located<Route>, context: &mut Context) {
    let connect = route.method.iter().find(|method| method.was_read() && method.0 == Method::CONNECT);
    if let Some(connect) = connect
        && route.guests.is_empty()
        && (route.upstream.is_some()
            || route.backend.is_some()
            || route.respond.as_ref().is_some_and(|respond| (200..300).contains(&*respond.status)))
    {
        let fault = Fault::warning(connect.span(), "all CONNECT requests get 501 from this route");
        context.fault(fault.help("the gateway isn't a forward proxy: remove the method"));
    }
}

/// The label in metrics for requests without a route.
const NO_ROUTE: &str = "none";

fn route_name(route: &Route, index: usize, config: &Config, context: &mut Context) {
    let Some(own) = &route.name else { return };
    if own.written().is_some() {
        let fault = Fault::new(own.span(), "the name of a route can't have references");
        context.fault(
            fault.help("names appear in metrics and logs, which must not show the value of a reference"),
        );
        return;
    }
    name(own, own.span(), context);
    if own.value == NO_ROUTE {
        let fault = Fault::new(own.span(), format!("a route can't be named {NO_ROUTE:?}"));
        context.fault(fault.help("metrics use this name for requests that match no route"));
    }
    // An earlier route may have any name; a later one must have a generated name.
    let mut others =
        config.routes.iter().enumerate().filter(|(at, other)| *at < index || other.name.is_none());
    if let Some((_, same)) = others.find(|(at, other)| other.name_at(*at) == own.value) {
        let (place, label) = match &same.name {
            Some(name) => (name.span(), "the other one"),
            None => (same.span(), "the other one; it has no name, so it is numbered"),
        };
        let fault = Fault::new(own.span(), format!("two routes are named {:?}", own.value));
        context.fault(fault.related(place, label));
    }
}

fn reference<'a>(
    wanted: &Located<String>,
    kind: &str,
    known: impl Iterator<Item = &'a String> + Clone,
    context: &mut Context,
) {
    if known.clone().any(|name| *name == wanted.value) {
        return;
    }
    let help = suggestion(wanted, known.clone().map(String::as_str)).unwrap_or_else(|| {
        let names: Vec<&str> = known.map(String::as_str).collect();
        match &names[..] {
            [] => format!("none are defined; add a section [{kind}s.{}]", wanted.value),
            names => format!("defined: {}", names.join(", ")),
        }
    });
    context.fault(Fault::new(wanted.span(), format!("unknown {kind} {:?}", wanted.value)).help(help));
}

fn check_redirect(redirect: &Redirect, route: &Route, config: &Config, context: &mut Context) {
    if !matches!(*redirect.status, 301 | 302 | 303 | 307 | 308) {
        let message = format!("invalid redirect status {}", redirect.status.value);
        context.fault(Fault::new(redirect.status.span(), message).help("expected 301, 302, 303, 307 or 308"));
    }
    let to = &redirect.to;
    if !to.was_read() {
        return;
    }
    if redirect.keep_path && to.has_path() {
        let fault =
            Fault::new(to.span(), "`keep_path` appends the path and the query, which `to` already contains");
        context.fault(fault.help("remove `keep_path`, or {path} and {query}"));
        return;
    }
    if redirect.keep_path && to.has_query() {
        let fault = Fault::new(
            to.span(),
            "`keep_path` appends the path to the end of `to`, which has a query or a fragment",
        );
        context.fault(
            fault.help("remove `keep_path`, and write {path} before the query: /new{path}?a=b&{query}"),
        );
        return;
    }
    let target = if redirect.keep_path { to.value.clone().with_path() } else { to.value.clone() };
    let schemes = match route.scheme {
        Some(scheme) => vec![scheme],
        None => vec![RouteScheme::Http, RouteScheme::Https],
    };
    let back: Vec<_> = schemes.iter().filter(|scheme| leads_back(&target, **scheme)).collect();
    if back.len() == schemes.len() {
        let fault = Fault::new(to.span(), "this redirect leads back to the same request");
        context.fault(fault.help("change the scheme, the host or the path"));
    } else if let [scheme] = back[..]
        && config.listen.iter().any(|listen| unused::can_receive(route, listen, *scheme))
    {
        let (own, other) = if scheme.is_tls() { ("https", "http") } else { ("http", "https") };
        let fault =
            Fault::warning(to.span(), format!("this redirect leads {own} requests back to themselves"));
        context.fault(fault.help(format!("if the route is for {other} requests, add scheme = \"{other}\"")));
    }
}

fn leads_back(target: &RedirectTarget, scheme: RouteScheme) -> bool {
    target.leads_back(if scheme.is_tls() { "https" } else { "http" })
}

fn check_respond(respond: &Respond, context: &mut Context) {
    let status = *respond.status;
    if !(200..600).contains(&status) {
        context.at(respond.status.span(), format!("expected a status from 200 to 599, found {status}"));
    } else if !respond.body.is_empty()
        && matches!(
            StatusCode::from_u16(status),
            Ok(StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
        )
    {
        context.at(respond.status.span(), format!("a response with status {status} can't have a body"));
    }
    for (header, value) in &respond.headers {
        header_name(header, value.key_span(), context);
        let is = |name: &HeaderName| header.eq_ignore_ascii_case(name.as_str());
        // A 304 may declare the length that a 200 would have.
        let length = status != StatusCode::NOT_MODIFIED.as_u16() && is(&header::CONTENT_LENGTH);
        if length || is(&header::TRANSFER_ENCODING) {
            let fault = Fault::new(value.key_span(), format!("the gateway sets {header:?} itself"));
            context.fault(fault.help("remove it"));
        }
        header_value(header, value, value.span(), context);
    }
}

fn header_name(name: &str, at: Range<usize>, context: &mut Context) {
    if HeaderName::try_from(name).is_err() {
        let fault = Fault::new(at, format!("invalid header name {name:?}"));
        context.fault(fault.help("a name consists of letters, digits, `-` and a few other characters"));
    }
}

fn header_value(name: &str, value: &str, at: Range<usize>, context: &mut Context) {
    if HeaderValue::try_from(value).is_err() {
        let fault = Fault::new(at, format!("invalid value of the header {name:?}"));
        context.fault(fault.help("a value has no line breaks and no other control characters"));
    }
}
