//! Every limit that the host imposes on a guest, with its default and reason.

use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// Limits on what a guest may use. Sizes are in bytes, and each limit applies to one exchange unless stated otherwise.
///
/// ```
/// use http_wasm_host::Limits;
///
/// let limits = Limits { replay_bytes: 64 * 1024 * 1024, ..Limits::default() };
/// # let _ = limits;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Bytes of one message's body that are kept because the guest has read them and the next handler (or the client)
    /// must get them again. Above this, the exchange fails, with 413 for a request and 502 for a response. Defaults to
    /// 16 MiB, which fits uploads that a guest has reason to inspect, while a server can hold a thousand of them.
    pub replay_bytes: usize,
    /// How many times as large as the received body its content may be, if bodies are [decoded](crate::Bodies::Decoded)
    /// and the content is larger than 1 MiB. Above this, the exchange fails with 413 for a request and 502 for a
    /// response. Defaults to 200, as in Apache's mod_deflate: texts rarely get beyond 50, decompression bombs begin at
    /// 1,000. `replay_bytes` applies to the content that is kept, and to the bytes as received that are kept beside it.
    pub decoded_ratio: u32,
    /// Bytes of the bodies that the guest writes, request and response together. Defaults to 16 MiB, for the same
    /// reason.
    pub written_bytes: usize,
    /// Number of header fields that the guest sets or adds, including trailers, plus the number of informational
    /// responses that it sends. Defaults to 1,000, ten times what servers accept.
    pub header_count: usize,
    /// Total size of the names and values of these fields. Defaults to 1 MiB.
    pub header_bytes: usize,
    /// Length of a URI that the guest sets, before encoding. Defaults to 65,534, the maximum of the `http` crate.
    pub uri_bytes: usize,
    /// Length of one `log` message or line of output; longer ones are truncated. Defaults to 16 KiB. Per message.
    pub log_line_bytes: usize,
    /// `log` messages and lines of output that are logged per second. A second's worth may arrive at once; messages
    /// above the limit are counted and reported in one line per second. With 0, nothing is logged. Defaults to 1,000: a
    /// flood then costs other users of the log a few milliseconds per second. Per guest, over all of its instances,
    /// since they share the log.
    pub log_rate: u32,
    /// Size of the configuration, checked when the guest is loaded. Defaults to 16 MiB, which is enough for rule sets.
    /// Per guest.
    pub config_bytes: usize,
    /// Linear memory of one instance, over all of its memories. Growing beyond it fails inside the guest. Defaults to
    /// 256 MiB. Per instance.
    pub memory_bytes: usize,
    /// Table elements of one instance, over all of its tables. Defaults to 100,000: toolchains emit one for each
    /// function that is called through a pointer. With more, instances of this guest don't fit a
    /// [slot](crate::EngineBuilder::slots). Per instance.
    pub table_elements: usize,
    /// How long the guest may compute in one phase without waiting for the host. Defaults to 1 s.
    pub deadline: Duration,
    /// How long one phase may take, including waiting for body bytes and sleeping. Defaults to 5 minutes, because slow
    /// clients upload through guests that read.
    pub total: Duration,
    /// How long a message that is sent while the guest writes it may take, counted from its head; see
    /// [`Stream`](crate::Stream). Replaces `total` for such messages. Defaults to 1 hour: event streams last, and each
    /// holds an instance.
    pub stream_total: Duration,
    /// How long a guest that writes a request while it is sent may wait in one write, once the next handler has
    /// responded. After that, the rest of the request is discarded. Defaults to 5 s: the next handler may be waiting
    /// for its response to be read, which happens only after the request.
    pub stream_stall: Duration,
    /// How much the memory of an instance may have grown since its start when it returns to the pool. An instance that
    /// has grown more is dropped, so that memory is freed after a burst. Defaults to 64 MiB. Per instance.
    pub retained_growth: usize,
    /// Like `deadline`, for creating an instance, which may take twice as long if it sleeps. Defaults to 10 s, because
    /// interpreters load their runtime at start-up.
    pub startup_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            replay_bytes: 16 * MIB,
            written_bytes: 16 * MIB,
            decoded_ratio: 200,
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
            stream_total: Duration::from_secs(3600),
            stream_stall: Duration::from_secs(5),
            retained_growth: 64 * MIB,
            startup_deadline: Duration::from_secs(10),
        }
    }
}

/// How many idle instances of a guest are kept.
///
/// ```
/// use http_wasm_host::PoolSettings;
///
/// let pool = PoolSettings { min_warm: 8, max_idle: Some(64), ..PoolSettings::default() };
/// # let _ = pool;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolSettings {
    /// Instances that are created in parallel when the guest is loaded, and kept even if they aren't needed. If some
    /// are lost to failures, they are replaced within a quarter of `idle_ttl`. At least one is always created, so that
    /// a broken guest fails to load. Defaults to 1.
    pub min_warm: usize,
    /// Maximum number of idle instances; further ones that are returned are dropped. Defaults to `None`, no limit:
    /// instances created in a burst are likely to be needed again within `idle_ttl`, and dropped after it.
    pub max_idle: Option<usize>,
    /// How long an instance may be idle before it is dropped and its memory returned to the system; it may take up to a
    /// quarter longer. Defaults to 1 minute, which is longer than the pauses within a burst.
    pub idle_ttl: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { min_warm: 1, max_idle: None, idle_ttl: Duration::from_secs(60) }
    }
}
