//! What guests say, heard where they say it, for the spans of their requests.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use http_wasm_tower::LOG_TARGET;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::exchange::Exchange;
use super::guest::Said;

tokio::task_local! {
    /// The request whose guest runs now.
    static CURRENT: Option<Arc<Exchange>>;
}

/// Waits for guests; what they say is noted with this request, if that is traced.
pub(crate) fn heard<F: Future>(
    exchange: Option<&Arc<Exchange>>,
    guests: F,
) -> impl Future<Output = F::Output> {
    CURRENT.scope(exchange.filter(|exchange| exchange.is_traced()).cloned(), guests)
}

/// A layer for the process's subscriber: it hands what guests log to the traces of their requests. Without it traces
/// have no such events.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct GuestWords;

impl<S: Subscriber> Layer<S> for GuestWords {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != LOG_TARGET {
            return;
        }
        // Elsewhere nobody listens.
        let _ = CURRENT.try_with(|exchange| {
            let Some(exchange) = exchange else { return };
            let mut words = Words::default();
            event.record(&mut words);
            exchange.said(Said {
                at: Instant::now() - exchange.started(),
                guest: words.guest,
                level: *event.metadata().level(),
                message: words.message,
            });
        });
    }
}

#[derive(Default)]
struct Words {
    guest: String,
    message: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "guest" {
            value.clone_into(&mut self.guest);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
