//! File descriptors: how many the process may open, and how many of them are reserved.
//!
//! The system gives a new descriptor the lowest free number. The number of a new descriptor is therefore a lower bound
//! for the number of open descriptors, and nothing needs to be counted.

use std::sync::OnceLock;

/// Descriptors for the admin listener, files, and clients that get a 503 because all other descriptors are in use.
const RESERVED: u64 = 128;

/// Default maximum of client connections per listener, if there are descriptors for them.
const DEFAULT_CONNECTIONS: u64 = 16_384;

/// The reserved descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    limit: u64,
    /// A client connection with this descriptor number or a higher one is rejected: the rest is reserved for upstreams.
    clients: u64,
    /// The same for an upstream connection.
    upstreams: u64,
}

impl Descriptors {
    /// The limits of this process. The first call raises the soft limit as far as the system allows without privileges.
    pub(crate) fn of_process() -> &'static Self {
        static PROCESS: OnceLock<Descriptors> = OnceLock::new();
        PROCESS.get_or_init(|| Self::within(raised_limit().unwrap_or(u64::MAX)))
    }

    fn within(limit: u64) -> Self {
        let upstreams = limit - RESERVED.min(limit / 4);
        Self { limit, clients: upstreams - upstreams / 4, upstreams }
    }

    /// Whether a client connection with this descriptor may stay.
    pub(crate) fn admits_client(&self, descriptor: u64) -> bool {
        descriptor < self.clients
    }

    /// Whether an upstream connection with this descriptor may stay.
    pub(crate) fn admits_upstream(&self, descriptor: u64) -> bool {
        descriptor < self.upstreams
    }

    /// The default maximum of connections per listener, including those that are answered with 503 for lack of
    /// descriptors.
    pub(crate) fn default_connections(&self) -> u32 {
        u32::try_from(self.limit.clamp(1, DEFAULT_CONNECTIONS)).unwrap_or(u32::MAX)
    }

    /// Logs a warning if listeners together admit more client connections than there can be.
    pub(crate) fn warn_of(&self, max_connections: u64) {
        let Self { limit, clients, .. } = self;
        if max_connections > *clients {
            tracing::warn!(
                "all listeners together allow {max_connections} connections (`max_connections`), but the \
                 limit of \
                 {limit} open files leaves room for only {clients} client connections besides those reserved \
                 for \
                 upstreams and the admin listener; further clients get 503. Raise the hard limit \
                 (`LimitNOFILE=`, \
                 `ulimit -Hn`), or lower `max_connections`"
            );
        }
    }
}

/// The number of a socket's descriptor.
#[cfg(unix)]
pub(crate) fn number(socket: &impl std::os::fd::AsRawFd) -> u64 {
    u64::try_from(socket.as_raw_fd()).unwrap_or_default()
}

/// On other systems, sockets aren't numbered like this, and there is no such limit.
#[cfg(not(unix))]
pub(crate) fn number<S>(_: &S) -> u64 {
    0
}

/// The error of a connection that got no descriptor.
#[cfg(unix)]
pub(crate) fn shortage() -> std::io::Error {
    rustix::io::Errno::MFILE.into()
}

#[cfg(not(unix))]
pub(crate) fn shortage() -> std::io::Error {
    std::io::ErrorKind::Other.into()
}

/// Whether an error is caused by a lack of descriptors, of the process or of the system.
pub(crate) fn is_shortage(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|error| error.downcast_ref().is_some_and(is_shortage_of_system))
}

#[cfg(unix)]
fn is_shortage_of_system(error: &std::io::Error) -> bool {
    use rustix::io::Errno;

    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(not(unix))]
fn is_shortage_of_system(_: &std::io::Error) -> bool {
    false
}

/// The limit of open files, after raising it to the hard limit; none if there is no limit.
#[cfg(unix)]
fn raised_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Some systems allow less than they report; then it stays unchanged.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let raised = getrlimit(Resource::Nofile).current;
    if raised != current {
        tracing::debug!(?current, ?raised, "raised the limit of open files");
    }
    raised
}

#[cfg(not(unix))]
fn raised_limit() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::Descriptors;

    #[test]
    fn descriptors_are_reserved_for_upstreams_and_the_admin_listener() {
        let descriptors = Descriptors::within(1024);
        assert!(descriptors.admits_client(671) && !descriptors.admits_client(672));
        assert!(descriptors.admits_upstream(895) && !descriptors.admits_upstream(896));
        // With a tiny limit, each gets some.
        let descriptors = Descriptors::within(64);
        assert!(descriptors.admits_client(35) && !descriptors.admits_client(36));
        assert!(descriptors.admits_upstream(47) && !descriptors.admits_upstream(48));
        assert!(Descriptors::within(u64::MAX).admits_client(1 << 60));
    }

    #[test]
    fn a_listener_admits_no_more_connections_by_default_than_the_limit_allows() {
        let default = |limit| Descriptors::within(limit).default_connections();
        assert_eq!([200, 20_000, u64::MAX].map(default), [200, 16_384, 16_384]);
    }

    #[cfg(unix)]
    #[test]
    fn the_soft_limit_is_raised_to_the_hard_limit() {
        use rustix::process::{Resource, getrlimit};

        Descriptors::of_process();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
