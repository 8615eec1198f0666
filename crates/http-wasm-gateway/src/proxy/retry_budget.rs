//! How many requests may be retried.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tower::retry::budget::{Budget as _, TpsBudget};

/// Retries may be up to a fifth of the requests of the last ten seconds, or ten per second if there are few requests.
/// They must not become the load that keeps a recovering server down.
const WINDOW: Duration = Duration::from_secs(10);
const PER_SECOND: u32 = 10;
const REQUESTS_PER_RETRY: usize = 5;

/// The retries that are allowed at the moment.
#[derive(Debug)]
pub(super) struct RetryBudget {
    requests: AtomicUsize,
    retries: TpsBudget,
}

impl RetryBudget {
    pub(super) fn new() -> Self {
        Self { requests: AtomicUsize::new(0), retries: TpsBudget::new(WINDOW, PER_SECOND, 1.0) }
    }

    /// Counts a request.
    pub(super) fn count(&self) {
        // The budget takes a lock and reads the clock, so it counts only what adds up to a retry.
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(REQUESTS_PER_RETRY) {
            self.retries.deposit();
        }
    }

    /// Whether a request may be retried, which then counts.
    pub(super) fn take(&self) -> bool {
        self.retries.withdraw()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::RetryBudget;

    fn taken(budget: &RetryBudget) -> usize {
        (0..10_000).take_while(|_| budget.take()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_recent_requests_may_be_retried_and_some_more() {
        let budget = RetryBudget::new();
        assert_eq!(taken(&budget), 100);
        advance(Duration::from_secs(20)).await;
        (0..1000).for_each(|_| budget.count());
        assert_eq!(taken(&budget), 300);
        advance(Duration::from_secs(20)).await;
        assert_eq!(taken(&budget), 100, "the requests were too long ago");
    }
}
