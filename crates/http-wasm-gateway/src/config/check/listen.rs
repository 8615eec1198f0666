//! Checks for conflicting addresses, and checks certificates.

use super::key_pair;
use crate::config::fault::Fault;
use crate::config::model::{Address, Config, ProxyProtocol};
use crate::config::read::{Context, Located};
use crate::names::Claim;

pub(super) fn check(config: &Config, context: &mut Context) {
    // The admin listener comes first: its address may be the default, which isn't in the file.
    let mut seen: Vec<&Located<Address>> = config.admin.iter().map(|admin| &admin.address).collect();
    for address in config.listen.iter().map(|listen| &listen.address).filter(|address| address.was_read()) {
        if let Some(other) = seen.iter().find(|other| collide(other, address)) {
            let message = if other.value == address.value {
                format!("two listeners have the address {}", address.value)
            } else {
                format!("cannot listen on both {} and {}", other.value, address.value)
            };
            let fault = Fault::new(address.span(), message);
            context.fault(match other.was_read() {
                true if other.value == address.value => fault.related(other.span(), "the other one"),
                true => fault
                    .related(other.span(), "the other one")
                    .help("0.0.0.0 and [::] stand for all addresses of the machine: remove one of the two"),
                false => fault.help("the other one is [admin], whose `address` defaults to 127.0.0.1:9901"),
            });
        }
        seen.push(address);
    }
    for listen in config.listen.iter() {
        if let Some(tls) = &listen.tls {
            for pair in tls.certificates.iter() {
                key_pair::check(pair, context);
            }
        }
        for field in &listen.trusted_fields {
            let name = field.0.as_str();
            if Claim::of(name).is_none() && !listen.client_fields.iter().any(|known| known.fits(name)) {
                let fault = Fault::new(
                    field.span(),
                    format!("{name:?} isn't a known field about the client, so it is accepted from everyone"),
                );
                context.fault(fault.help(format!(
                    "to drop it unless it comes from a trusted proxy, add client_fields = [{name:?}]"
                )));
            }
        }
        if *listen.proxy_protocol == ProxyProtocol::V2
            && listen.trusted_proxies.is_empty()
            && !listen.was_read_in_part()
        {
            let fault = Fault::new(
                listen.proxy_protocol.span(),
                "`proxy_protocol` without `trusted_proxies` rejects every connection",
            );
            context.fault(
                fault.help("list the networks of the proxies, as in trusted_proxies = [\"10.0.0.0/8\"]"),
            );
        }
    }
}

/// Whether two listeners exclude each other: the same address, or the same port of one and of all addresses.
fn collide(a: &Address, b: &Address) -> bool {
    if a.takes_any_port() || b.takes_any_port() {
        return false;
    }
    let split = |address: &'_ Address| {
        let (host, port) = address.as_str().rsplit_once(':').unwrap_or_default();
        (host.to_owned(), port.to_owned())
    };
    let ((a_host, a_port), (b_host, b_port)) = (split(a), split(b));
    let everywhere = |host: &str| matches!(host, "0.0.0.0" | "[::]");
    a_port == b_port && (a_host == b_host || everywhere(&a_host) || everywhere(&b_host))
}
