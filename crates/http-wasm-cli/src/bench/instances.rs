//! The cost of instances: creating one, keeping many idle, and serving a burst with none idle.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use http_wasm_tower::{Error, PoolSettings};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::measure::{Workload, failed, hello, runtime, served};
use crate::failure::{Failure, plain};

/// Minimum number of new instances, if that takes less than twice the available time.
const MIN_FRESH: usize = 200;

/// Maximum number of new instances.
const MAX_FRESH: usize = 20_000;

/// Instances that are idle at once.
const MAX_IDLE: usize = 1_000;

/// Maximum total memory of these instances, in bytes.
const MAX_MEMORY: usize = 512 << 20;

/// How long idle instances are kept.
const IDLE_TTL: Duration = Duration::from_millis(200);

/// How long dropping them and freeing their memory may take.
const DROP_TIMEOUT: Duration = Duration::from_secs(3);

/// Number of requests in a burst.
pub(crate) const BURST: usize = 1_000;

/// The pool of a guest whose instances serve one request each.
pub(crate) const NO_IDLE: PoolSettings =
    PoolSettings { min_warm: 0, max_idle: Some(0), idle_ttl: Duration::from_secs(60) };

/// The pool of a guest whose instances are soon dropped.
pub(crate) const SHORT_IDLE: PoolSettings = PoolSettings { min_warm: 0, max_idle: None, idle_ttl: IDLE_TTL };

/// Memory of an instance, in bytes; unknown on some systems.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// While it is idle.
    pub(crate) idle: Option<u64>,
    /// What is left of it once it is dropped.
    pub(crate) left: Option<u64>,
}

/// How long each request of a burst takes, counted from the start of the burst.
pub(crate) struct Burst {
    /// With one idle instance in the pool.
    pub(crate) cold: Vec<Duration>,
    /// The same requests again.
    pub(crate) warm: Vec<Duration>,
}

impl Workload {
    /// The time for creating and dropping an instance: that of an exchange that finds no idle instance, minus that of
    /// one that does. The former guest keeps no instance [idle](NO_IDLE); otherwise, `warm` is the same guest.
    pub(crate) fn fresh(&self, warm: &Self, share: Duration) -> Result<Vec<Duration>, Failure> {
        // Warm up: a guest's first calls can differ from later ones.
        self.exchanges(share / 4)?;
        warm.exchanges(share / 8)?;
        let mut usual = warm.exchanges(share / 8)?;
        usual.sort_unstable();
        let usual = usual[usual.len() / 2];
        let mut times = self.exchanges(share / 2)?;
        times.iter_mut().for_each(|time| *time = time.saturating_sub(usual));
        Ok(times)
    }

    /// The times of sequential exchanges.
    fn exchanges(&self, share: Duration) -> Result<Vec<Duration>, Failure> {
        let mut times = Vec::new();
        let begin = Instant::now();
        let enough = |made: usize| {
            let share = if made < MIN_FRESH { share * 2 } else { share };
            made > 0 && begin.elapsed() >= share || made >= MAX_FRESH
        };
        let measured = runtime()?.block_on(async {
            while !enough(times.len()) {
                let request = self.request.build();
                let start = Instant::now();
                let response = self.exchange(request).await?;
                times.push(start.elapsed());
                drop(response);
            }
            Ok::<_, Arc<Error>>(())
        });
        measured.map_err(failed)?;
        Ok(times)
    }

    /// Memory of an idle instance, and what is left of it after its [short](SHORT_IDLE) idle time.
    ///
    /// Only a guest that forwards requests keeps its instance during the request; for others, the result is unknown.
    pub(crate) fn memory(&self, share: Duration) -> Result<Memory, Failure> {
        let most = (MAX_MEMORY / self.guest.facts().memory_bytes.max(1)).clamp(2, MAX_IDLE);
        let (reached, released) = (Cell::new(false), Notify::new());
        let mut held = Vec::with_capacity(most);
        let runtime = runtime()?;
        // The first request's allocations aren't counted, and those of loading the guest have been freed.
        self.once()?;
        self.wait_until_gone();
        let before = resident_bytes();
        let begin = Instant::now();
        let measured = runtime.block_on(async {
            while held.len() < most && (held.len() < 2 || begin.elapsed() < share) {
                let mut call = Box::pin(self.chain.call(self.request.build(), async |request| {
                    reached.set(true);
                    released.notified().await;
                    hello(request).await
                }));
                // Until the guest has forwarded the request, or has finished with it.
                if let Some(response) = poll_until(call.as_mut(), || reached.take()).await {
                    served(response)?;
                    return Ok(None);
                }
                held.push(call);
            }
            let made = held.len() as u64;
            released.notify_waiters();
            for call in held.drain(..) {
                drop(served(call.await)?);
            }
            Ok::<_, Arc<Error>>(Some(made))
        });
        let Some(made) = measured.map_err(failed)? else { return Ok(Memory::default()) };
        let each = |now: Option<u64>| before.zip(now).map(|(before, now)| now.saturating_sub(before) / made);
        let idle = each(resident_bytes());
        self.wait_until_gone();
        // The allocator may take a while to return free memory.
        let limit = Instant::now() + DROP_TIMEOUT;
        let mut left = each(resident_bytes());
        while left.zip(idle).is_some_and(|(left, idle)| left > idle / 20) && Instant::now() < limit {
            thread::sleep(Duration::from_millis(20));
            left = left.min(each(resident_bytes()));
        }
        Ok(Memory { idle, left })
    }

    fn wait_until_gone(&self) {
        let limit = Instant::now() + DROP_TIMEOUT;
        while self.guest.stats().live > 0 && Instant::now() < limit {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// [`BURST`] concurrent requests, on as many threads as the machine has cores. The next handler yields, as one that
    /// waits for a response does.
    pub(crate) fn burst(self) -> Result<Burst, Failure> {
        let runtime = Builder::new_multi_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| Failure::Other(format!("cannot start the runtime: {}", plain(&error))))?;
        let workload = Arc::new(self);
        let burst = || {
            runtime.block_on(async {
                let begin = Instant::now();
                let mut requests = JoinSet::new();
                for _ in 0..BURST {
                    let workload = workload.clone();
                    requests.spawn(async move {
                        let response = workload.slow_exchange().await;
                        response.map(|()| begin.elapsed())
                    });
                }
                requests.join_all().await.into_iter().collect::<Result<Vec<_>, Arc<Error>>>()
            })
        };
        let cold = burst().map_err(failed)?;
        let warm = burst().map_err(failed)?;
        Ok(Burst { cold, warm })
    }

    async fn slow_exchange(&self) -> Result<(), Arc<Error>> {
        let call = self.chain.call(self.request.build(), async |request| {
            tokio::task::yield_now().await;
            hello(request).await
        });
        served(call.await).map(drop)
    }
}

/// Polls until the future completes or `enough` returns true.
async fn poll_until<F: Future>(mut future: Pin<&mut F>, enough: impl Fn() -> bool) -> Option<F::Output> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if enough() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Resident memory of this process. Available on Linux; unknown elsewhere.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
