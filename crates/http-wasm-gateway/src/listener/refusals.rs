//! Connections that are accepted only to be rejected.

use std::collections::VecDeque;

use tokio::task::AbortHandle;

/// Connections that are accepted only to be rejected. The newest replaces the oldest, so that silent clients can't keep
/// others from getting a response.
#[derive(Debug, Default)]
pub(super) struct Refusals(VecDeque<AbortHandle>);

impl Refusals {
    /// The most rejections in progress.
    const MAX: usize = 16;

    /// Makes room for another one. Returns whether it is the first for some time.
    pub(super) fn make_room(&mut self) -> bool {
        self.0.retain(|task| !task.is_finished());
        let first = self.0.is_empty();
        while self.0.len() >= Self::MAX {
            self.0.pop_front().inspect(AbortHandle::abort);
        }
        first
    }

    pub(super) fn add(&mut self, task: AbortHandle) {
        self.0.push_back(task);
    }
}

#[cfg(test)]
mod tests {
    use super::Refusals;

    #[tokio::test]
    async fn the_oldest_refusal_is_aborted_to_make_room() {
        let mut refusals = Refusals::default();
        let mut tasks = Vec::new();
        for number in 0..=Refusals::MAX {
            assert_eq!(refusals.make_room(), number == 0);
            let task = tokio::spawn(std::future::pending::<()>());
            refusals.add(task.abort_handle());
            tasks.push(task);
        }
        assert!(tasks.remove(0).await.unwrap_err().is_cancelled());
        tokio::task::yield_now().await;
        assert!(tasks.iter().all(|task| !task.is_finished()));
    }
}
