//! Logging a guest's failure.

use tracing::{Level, Span, dispatcher};

use crate::error::Error;

/// An event at a level that isn't a constant.
macro_rules! event_at {
    ($level:expr, $($arguments:tt)+) => {
        match $level {
            Level::ERROR => tracing::event!(Level::ERROR, $($arguments)+),
            Level::WARN => tracing::event!(Level::WARN, $($arguments)+),
            Level::INFO => tracing::event!(Level::INFO, $($arguments)+),
            Level::DEBUG => tracing::event!(Level::DEBUG, $($arguments)+),
            Level::TRACE => tracing::event!(Level::TRACE, $($arguments)+),
        }
    };
}

impl Error {
    /// Logs the failure at [its level](crate::FailureResponse::log_level), with `note` after its text and the backtrace
    /// as a field.
    ///
    /// If the module contains debug information, and the source lines of this backtrace aren't known yet, they are
    /// looked up on another thread and logged in the same span: once for each place where the guest fails, and up to 30
    /// times a minute.
    #[cold]
    pub fn log(&self, note: &str) {
        let level = self.response().log_level;
        // If it isn't the guest's fault, its stack is of no interest.
        let calls = self.calls().filter(|_| level == Level::ERROR);
        let backtrace = calls.map(|calls| calls.text());
        event_at!(level, guest = self.guest(), backtrace, "{self}{note}");
        let Some(calls) = calls else { return };
        let (guest, what) = (self.guest().to_owned(), self.to_string());
        let (span, subscriber) = (Span::current(), dispatcher::get_default(Clone::clone));
        calls.locate_later(move |backtrace| {
            dispatcher::with_default(&subscriber, || {
                span.in_scope(|| tracing::error!(guest, backtrace, "source lines of: {what}"));
            });
        });
    }
}
