//! Flags that record exchanges.

use std::path::PathBuf;

use http_wasm_gateway::config::{Record, RecordedExchanges};

use crate::args::choice;

/// Which exchanges are recorded, and where.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Recording")]
pub(crate) struct RecordArgs {
    /// Directory for recordings of exchanges, for `http-wasm replay`; the configuration's `[record]` has more settings
    #[arg(long, value_name = "DIRECTORY")]
    record: Option<PathBuf>,

    /// Which exchanges to keep: those that failed, or all
    #[arg(long, value_name = "failures|all", default_value = "failures", requires = "record",
        value_parser = choice::<RecordedExchanges>())]
    record_exchanges: RecordedExchanges,

    /// Share of requests to observe, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "1", requires = "record", value_parser = share)]
    record_sample: f64,

    /// Don't redact secrets in recordings: credentials, cookies, and the guests' configuration and environment
    #[arg(long, requires = "record")]
    record_unredacted: bool,
}

impl RecordArgs {
    /// Whether recording is requested.
    pub(super) fn is_used(&self) -> bool {
        self.record.is_some()
    }

    /// The settings, if exchanges are recorded.
    pub(crate) fn resolve(self) -> Option<Record> {
        let Self { record, record_exchanges, record_sample, record_unredacted } = self;
        record.map(|dir| Record {
            dir: dir.into(),
            exchanges: record_exchanges,
            sample: record_sample,
            unredacted: record_unredacted,
            ..Record::default()
        })
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}
