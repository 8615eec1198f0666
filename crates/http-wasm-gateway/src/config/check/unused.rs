//! Warns of settings that have no effect.

use crate::config::fault::Fault;
use crate::config::model::{Config, Listen, Route, RouteScheme};
use crate::config::read::Context;

/// Warns of settings that no request uses.
pub(super) fn check(config: &Config, context: &mut Context) {
    for (name, guest) in &config.guests {
        if !config.routes.iter().any(|route| route.guests.iter().any(|used| used.value == *name)) {
            let fault = Fault::warning(guest.key_span(), format!("no route uses the guest {name:?}"));
            context
                .fault(fault.help(format!("add it to the `guests` of a route, or remove [guests.{name}]")));
        }
    }
    for (name, upstream) in &config.upstreams {
        if !config.routes.iter().any(|route| route.upstream.as_ref().is_some_and(|used| used.value == *name))
        {
            let fault = Fault::warning(upstream.key_span(), format!("no route uses the upstream {name:?}"));
            context.fault(
                fault.help(format!("set upstream = {name:?} in a route, or remove [upstreams.{name}]")),
            );
        }
    }
    for route in &config.routes {
        if !config.listen.iter().any(|listen| can_receive_any(route, listen)) {
            let fault = Fault::warning(route.span(), "no listener receives requests for this route");
            context.fault(fault.help(
                "requests are https if their listener has `tls`, or a trusted proxy says so in x-forwarded-proto",
            ));
        }
    }
    for listen in config.listen.iter() {
        if !config.routes.iter().any(|route| can_receive_any(route, listen)) {
            let fault = Fault::warning(listen.address.span(), "no route matches requests from this listener");
            context.fault(fault.help("all of them get 404: add a route, or remove the listener"));
        }
        let trusted = listen.trusted_fields.iter().find(|field| field.was_read());
        if let Some(field) = trusted.filter(|_| listen.trusted_proxies.is_empty()) {
            let fault =
                Fault::warning(field.span(), "`trusted_fields` has no effect without `trusted_proxies`");
            context.fault(
                fault.help("list the networks of the proxies, as in trusted_proxies = [\"10.0.0.0/8\"]"),
            );
        }
    }
}

/// Whether a route can get requests with this scheme from a listener.
pub(super) fn can_receive(route: &Route, listen: &Listen, scheme: RouteScheme) -> bool {
    let is_listed = || route.listen.iter().any(|address| address.value == listen.address.value);
    // A trusted proxy may report either scheme.
    let has_scheme = listen.tls.is_some() == scheme.is_tls() || !listen.trusted_proxies.is_empty();
    (route.listen.is_empty() || is_listed())
        && has_scheme
        && route.scheme.is_none_or(|wanted| wanted == scheme)
}

fn can_receive_any(route: &Route, listen: &Listen) -> bool {
    [RouteScheme::Http, RouteScheme::Https].iter().any(|scheme| can_receive(route, listen, *scheme))
}
