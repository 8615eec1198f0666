//! The stage of the gateway's life.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;

/// The stage of the gateway's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub(crate) enum Stage {
    /// Guests are being loaded, or addresses aren't listened on yet.
    Starting,
    /// Requests are served.
    Ready,
    /// The gateway is about to stop, and health checks fail. After the drain delay, no new connections are accepted,
    /// and requests in flight finish.
    Draining,
}

/// The stage that the gateway has reached. All clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct CurrentStage(Arc<AtomicU8>);

impl CurrentStage {
    pub(crate) fn starting() -> Self {
        Self(Arc::new(AtomicU8::new(Stage::Starting as u8)))
    }

    pub(crate) fn get(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            stage if stage == Stage::Starting as u8 => Stage::Starting,
            stage if stage == Stage::Ready as u8 => Stage::Ready,
            _ => Stage::Draining,
        }
    }

    /// Moves to a later stage. It is impossible to go back.
    pub(crate) fn enter(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::AcqRel);
    }
}
