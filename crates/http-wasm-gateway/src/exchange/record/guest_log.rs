//! Records what guests log for the spans of their requests.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use http_wasm_tower::LOG_TARGET;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::guest::GuestMessage;
use super::request::RequestRecord;
use crate::inspect::with_current;

tokio::task_local! {
    /// The request whose guest is running.
    static CURRENT: Arc<RequestRecord>;
}

/// Runs guests, and records what they log with this request.
pub(crate) fn with_guest_log<F: Future>(
    record: &Arc<RequestRecord>,
    guests: F,
) -> impl Future<Output = F::Output> {
    CURRENT.scope(record.clone(), guests)
}

/// A layer for the process's subscriber that adds guest logs to the traces of their requests, and gives them to an
/// [`Inspector`](crate::Inspector). Without it, neither gets them.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct GuestLogLayer;

impl<S: Subscriber> Layer<S> for GuestLogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != LOG_TARGET {
            return;
        }
        with_current(|exchange| {
            let mut fields = Fields::default();
            event.record(&mut fields);
            exchange.line(fields.stream.as_deref(), &fields.message);
        });
        // There is none outside of requests whose trace is sent.
        let _ = CURRENT.try_with(|record| {
            let mut fields = Fields::default();
            event.record(&mut fields);
            record.add_message(GuestMessage {
                at: Instant::now() - record.started(),
                guest: fields.guest,
                level: *event.metadata().level(),
                message: fields.message,
            });
        });
    }
}

#[derive(Default)]
struct Fields {
    guest: String,
    stream: Option<String>,
    message: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "guest" => value.clone_into(&mut self.guest),
            "stream" => self.stream = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
