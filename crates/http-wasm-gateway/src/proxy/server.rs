//! The addresses of an upstream, and load balancing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;

use serde::Serialize;

use super::connect::Connectors;
use super::health::{Condition, Health};
use super::pool::{Pool, ResponseBody};
use crate::body::{Hook, Hooked, PolledFrame};
use crate::config::{Balance, Upstream};
use crate::error_text::Causes;
use crate::trailers;
use crate::upstream_url::UpstreamUrl;

/// One address of an upstream.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: UpstreamUrl,
    /// The URL in logs and status.
    pub(super) address: Arc<str>,
    pub(super) health: Health,
    pub(super) pool: Pool,
    in_flight: AtomicUsize,
    tunnels: AtomicUsize,
}

/// The addresses of an upstream.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<Arc<Server>>,
    balance: Balance,
    turn: AtomicUsize,
}

impl Servers {
    pub(super) fn new(upstream: &Upstream, connectors: &Connectors) -> Self {
        let server = |url: &UpstreamUrl| {
            let health = Health::new(&upstream.health.passive);
            let address = url.to_string().into();
            let pool = Pool::new(url, connectors, upstream);
            Arc::new(Server {
                url: url.clone(),
                address,
                health,
                pool,
                in_flight: AtomicUsize::new(0),
                tunnels: AtomicUsize::new(0),
            })
        };
        let all = upstream.addresses.iter().map(|address| server(&address.value)).collect();
        Self { all, balance: upstream.balance, turn: AtomicUsize::new(0) }
    }

    pub(super) fn status(&self) -> impl Iterator<Item = AddressStatus> {
        self.all.iter().map(|server| AddressStatus::of(server))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.all.iter()
    }

    /// The address for the next request: a healthy one that hasn't been `tried` for it; if there is none, one that
    /// hasn't been tried; otherwise any.
    pub(super) fn choose(&self, tried: &[Lease]) -> Lease {
        if let [only] = &*self.all {
            return Lease::new(only.clone());
        }
        let untried = |server: &&Arc<Server>| !tried.iter().any(|lease| Arc::ptr_eq(&lease.0, server));
        let healthy = |server: &&Arc<Server>| server.health.is_up();
        let candidates = || self.all.iter().filter(untried);
        let chosen = self
            .balanced(candidates().filter(healthy))
            .or_else(|| self.balanced(candidates()))
            .or_else(|| self.balanced(self.all.iter().filter(healthy)))
            .or_else(|| self.balanced(self.all.iter()))
            .expect("a checked upstream has an address");
        Lease::new(chosen.clone())
    }

    fn balanced<'a>(&self, among: impl Iterator<Item = &'a Arc<Server>> + Clone) -> Option<&'a Arc<Server>> {
        let count = among.clone().count();
        let nth = |index: usize| among.clone().nth(index);
        match (count, self.balance) {
            (0, _) => None,
            (1, _) => nth(0),
            (_, Balance::RoundRobin) => nth(self.turn.fetch_add(1, Ordering::Relaxed) % count),
            (_, Balance::LeastRequests) => {
                let first = fastrand::usize(..count);
                // A different address from the first.
                let second = (first + fastrand::usize(1..count)) % count;
                nth(first).into_iter().chain(nth(second)).min_by_key(|server| server.in_flight())
            }
        }
    }
}

/// The state of an address, for operators.
#[derive(Debug, Serialize)]
pub(crate) struct AddressStatus {
    pub(crate) url: String,
    health: &'static str,
    /// The time until the ejection ends.
    retry_in_seconds: Option<f64>,
    /// The number of its requests in flight, including responses in progress and tunnels.
    pub(crate) in_flight: usize,
    /// The number of open tunnels among them.
    pub(crate) tunnels: usize,
    /// The number of requests that failed or timed out.
    pub(crate) failures: u64,
    /// The number of its informational responses that were dropped.
    pub(crate) informational_dropped: u64,
}

impl AddressStatus {
    fn of(server: &Server) -> Self {
        let (health, out) = match server.health.condition() {
            Condition::Healthy => ("healthy", None),
            Condition::Out(left) => ("out", Some(left.as_secs_f64())),
            Condition::Unhealthy => ("unhealthy", None),
        };
        Self {
            url: server.address.to_string(),
            health,
            retry_in_seconds: out,
            in_flight: server.in_flight(),
            tunnels: server.tunnels.load(Ordering::Relaxed),
            failures: server.health.all_failures(),
            informational_dropped: server.pool.informational(),
        }
    }

    /// Whether it receives requests.
    pub(crate) fn is_up(&self) -> bool {
        self.health == "healthy"
    }
}

impl Server {
    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// A request in flight to an address, until this is dropped.
#[derive(Debug)]
pub(super) struct Lease(Arc<Server>);

impl Lease {
    fn new(server: Arc<Server>) -> Self {
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }

    pub(super) fn server(&self) -> &Server {
        &self.0
    }

    /// Counts the request as a tunnel until the returned value is dropped.
    pub(super) fn tunnel(&self) -> Tunnel<'_> {
        self.0.tunnels.fetch_add(1, Ordering::Relaxed);
        Tunnel(&self.0)
    }

    /// Whether this address is one of `others`.
    pub(super) fn is_among(&self, others: &[Self]) -> bool {
        others.iter().any(|other| Arc::ptr_eq(&self.0, &other.0))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open tunnel to an address.
pub(super) struct Tunnel<'a>(&'a Server);

impl Drop for Tunnel<'_> {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a response. Its end completes the request to the address.
pub(super) type Leased = Hooked<ResponseBody, LeasedHook>;

/// Keeps the lease of an address for the lifetime of a response's body.
#[derive(Debug)]
pub(super) struct LeasedHook {
    pub(super) upstream: Arc<str>,
    pub(super) lease: Lease,
}

impl Hook<ResponseBody> for LeasedHook {
    fn polled(&mut self, _: &mut ResponseBody, polled: PolledFrame, _: &mut Context<'_>) -> PolledFrame {
        polled.map(|frame| match frame? {
            Ok(frame) => trailers::filter(frame).map(Ok),
            Err(error) => {
                let (upstream, address) = (&*self.upstream, &self.lease.server().url);
                tracing::warn!(upstream, %address, error = %Causes(&*error), "response ended prematurely");
                Some(Err(error))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Connectors, Servers};
    use crate::config::{Balance, Config, Upstream};

    fn upstream(balance: &str) -> Upstream {
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\nroutes = []\n[upstreams.u]\nbalance = \"{balance}\"\n\
             addresses = [\"http://a\", \"http://b\", \"http://c\"]\nhealth.passive.failures = 1\n"
        );
        let config = Config::parse("gateway.toml".as_ref(), text).unwrap_or_else(|faults| panic!("{faults}"));
        config.upstreams["u"].value.clone()
    }

    fn servers(upstream: &Upstream) -> Servers {
        Servers::new(upstream, &Connectors::new(upstream).unwrap())
    }

    fn hosts(servers: &Servers, count: usize) -> String {
        let host = |_| servers.choose(&[]).server().url.to_string().pop().expect("a host");
        (0..count).map(host).collect()
    }

    #[test]
    fn round_robin_takes_addresses_in_turn_and_skips_ejected_ones() {
        let servers = servers(&upstream("round_robin"));
        assert_eq!(hosts(&servers, 6), "abcabc");
        servers.all[1].health.failed();
        assert_eq!(hosts(&servers, 4), "acac");
        servers.all[0].health.failed();
        assert_eq!(hosts(&servers, 2), "cc");
        servers.all[2].health.failed();
        let all = hosts(&servers, 6);
        assert!(
            ['a', 'b', 'c'].iter().all(|host| all.contains(*host)),
            "all are out, so all are tried: {all}"
        );
    }

    #[test]
    fn a_retry_goes_to_an_address_not_yet_tried() {
        let servers = servers(&upstream("round_robin"));
        let mut tried = vec![servers.choose(&[])];
        for _ in 0..2 {
            let next = servers.choose(&tried);
            assert!(tried.iter().all(|lease| lease.server().url != next.server().url));
            tried.push(next);
        }
        // All have been tried now, so any of them may be next.
        let again = servers.choose(&tried);
        assert!(tried.iter().any(|lease| lease.server().url == again.server().url));
    }

    #[test]
    fn least_requests_avoids_the_busiest_address() {
        assert_eq!(upstream("least_requests").balance, Balance::LeastRequests);
        let servers = servers(&upstream("least_requests"));
        let busy = super::Lease::new(servers.all[0].clone());
        let mut held = vec![busy];
        // Until each address has a request, one of the two candidates always has fewer.
        for _ in 0..2 {
            held.push(servers.choose(&[]));
        }
        assert!(servers.all[0].in_flight() <= 2, "{held:?}");
        drop(held);
        assert!(servers.all.iter().all(|server| server.in_flight() == 0));
        let _busy: Vec<_> = (0..9).map(|_| super::Lease::new(servers.all[0].clone())).collect();
        assert!(!hosts(&servers, 50).contains('a'), "one with 9 requests is never the one with fewer");
    }
}
