//! Sends the log of the module and its guests to Envoy's log.
#![expect(unsafe_code, reason = "Envoy's log is a function of its interface")]

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::ffi::{Buf, Level, callbacks};

/// Sends all events of this library to Envoy's log.
pub(crate) fn start() {
    let subscriber = tracing_subscriber::registry().with(EnvoyLog);
    // This library has its own copy of `tracing`: setting the subscriber only fails if it has been initialised before.
    let _again = tracing::subscriber::set_global_default(subscriber);
}

/// Whether Envoy's log shows events of this level.
pub(crate) fn is_enabled(level: Level) -> bool {
    // SAFETY: Envoy's log may be used on any thread.
    callbacks().is_some_and(|envoy| unsafe { (envoy.log_enabled)(level) })
}

struct EnvoyLog;

fn level(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for EnvoyLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(envoy) = callbacks() else { return };
        let level = level(event.metadata());
        if !is_enabled(level) {
            return;
        }
        let mut line = Line { text: String::from("http-wasm: "), fields: String::new() };
        event.record(&mut line);
        line.text.push_str(&line.fields);
        // SAFETY: Envoy's log may be used on any thread; it copies the text.
        unsafe { (envoy.log)(level, Buf::of(line.text.as_bytes())) };
    }
}

/// An event as one line: the message, then its fields.
struct Line {
    text: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.text.push_str(value),
            name => {
                let _ = write!(self.fields, " {name}={value:?}");
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
