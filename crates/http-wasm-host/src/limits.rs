//! Every cap that the host puts on a guest, with its default and reason.

use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// What one guest may use. Sizes are in bytes; each cap is counted per exchange unless it says otherwise.
///
/// ```
/// use http_wasm_host::Limits;
///
/// let limits = Limits { replay_bytes: 64 * 1024 * 1024, ..Limits::default() };
/// # let _ = limits;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Bytes of one message's body kept because the guest read them and the next handler (or the client)
    /// must get them again. Over it the exchange fails with 413 for a request and 502 for a response.
    /// Default 16 MiB: uploads that a guest has reason to look into fit, a thousand at once still fit a server.
    pub replay_bytes: usize,
    /// Body bytes that the guest writes, request and response together. Default 16 MiB, for the same reason.
    pub written_bytes: usize,
    /// Fields that the guest sets or adds, trailers included. Default 1,000: ten times what servers accept.
    pub header_count: usize,
    /// Names and values of those fields together. Default 1 MiB.
    pub header_bytes: usize,
    /// Length of a URI that the guest sets, before encoding. Default 65,534, the most that the `http` crate holds.
    pub uri_bytes: usize,
    /// Length of one `log` message or line of output; the rest is cut off. Default 16 KiB. Per message.
    pub log_line_bytes: usize,
    /// `log` messages and lines of output that are logged in a second, a second's worth at once; those beyond are counted
    /// and reported in one line a second. 0 logs nothing. Default 1,000: a flood costs whoever shares the log a few
    /// milliseconds a second. Per guest, all its instances together, as the log is shared by all.
    pub log_rate: u32,
    /// Size of the configuration, checked when the guest is loaded. Default 16 MiB: rule sets fit. Per guest.
    pub config_bytes: usize,
    /// Linear memory of one instance, all its memories together. Growing past it fails inside the guest. Default 256 MiB.
    /// Per instance.
    pub memory_bytes: usize,
    /// Elements of one instance's tables together. Default 100,000: toolchains emit one for each function that is called through a
    /// pointer. With more, instances of this guest find no [slot](crate::EngineBuilder::slots). Per instance.
    pub table_elements: usize,
    /// Time that the guest may compute in one phase without waiting for the host. Default 1 s.
    pub deadline: Duration,
    /// Time that one phase may take with all its waiting: for a body's bytes, and in sleeps. Default 5 minutes, as slow
    /// clients upload through guests that read.
    pub total: Duration,
    /// Memory by which an instance may have grown since its start and still go back to the pool. One that has grown
    /// further is dropped, so that a burst's memory comes back. Default 64 MiB. Per instance.
    pub retained_growth: usize,
    /// The same as `deadline` for the making of an instance, which with all its sleeping may take twice that: there is nothing to
    /// wait for. Default 10 s, as interpreters load their runtime there.
    pub startup_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            replay_bytes: 16 * MIB,
            written_bytes: 16 * MIB,
            header_count: 1_000,
            header_bytes: MIB,
            uri_bytes: 65_534,
            log_line_bytes: 16 * 1024,
            log_rate: 1_000,
            config_bytes: 16 * MIB,
            memory_bytes: 256 * MIB,
            table_elements: 100_000,
            deadline: Duration::from_secs(1),
            total: Duration::from_secs(300),
            retained_growth: 64 * MIB,
            startup_deadline: Duration::from_secs(10),
        }
    }
}

/// How many instances a guest keeps ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolSettings {
    /// Instances made when the guest is loaded, in parallel, and kept however long nobody needs them. At least one is made
    /// in any case, so that a bad guest fails at load. Default 1.
    pub min_warm: usize,
    /// Idle instances kept; one more that comes back is dropped. Default `None`, no limit: what a burst has made is
    /// likely to be needed again within `idle_ttl`, and gone after it.
    pub max_idle: Option<usize>,
    /// How long an instance may lie idle before it is dropped and its memory goes back to the system; up to a quarter more. Default 1
    /// minute: longer than the pauses within a burst, shorter than anybody watches a graph.
    pub idle_ttl: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { min_warm: 1, max_idle: None, idle_ttl: Duration::from_secs(60) }
    }
}
