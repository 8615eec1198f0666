//! What to run, and against which host.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::filter::Filter;
use super::launch::LaunchCommand;
use crate::case::{Host, Http, Streams};

/// Whose behaviour is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// The ABI's.
    #[default]
    Abi,
    /// The reference host's, where it differs harmlessly.
    Reference,
}

/// What to run, and against which host.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host under test, HOST:PORT: it has the conformance guest loaded and forwards to the kit's backend.
    pub address: Option<String>,
    /// How to start the host under test: for cases that need their own, and for all if there is no address.
    pub launch: Option<LaunchCommand>,
    /// A host that lets guests write messages while they are sent: it has the guest `stream` loaded, and forwards to
    /// the kit's backend.
    pub stream_address: Option<String>,
    /// How to start such a host.
    pub launch_stream: Option<LaunchCommand>,
    /// Such a host that also hides the content coding of bodies from the guest.
    pub decoded_address: Option<String>,
    /// How to start such a host.
    pub launch_decoded: Option<LaunchCommand>,
    /// The messages that these hosts stream.
    pub streams: Streams,
    /// The conformance guest for started hosts, if that isn't the kit's own: one that was written with some language's
    /// bindings. Cases that it can't take part in are skipped.
    pub guest: Option<PathBuf>,
    /// Where started hosts write their log, if that is neither stdout nor stderr.
    pub log_file: Option<PathBuf>,
    /// Which HTTP version to use.
    pub http: Http,
    /// Which cases to run; all by default.
    pub filter: Option<Filter>,
    /// Whose behaviour is expected.
    pub profile: Profile,
    /// How long the host may take to respond to a request. Some responses take a second, because the backend pauses.
    pub timeout: Duration,
}

impl Options {
    /// The address of a host for such cases, if there is one that is running already.
    pub(super) fn address(&self, host: &Host) -> Option<&str> {
        let address = match host {
            Host::Any => &self.address,
            Host::Own { .. } => &None,
            Host::Streaming { decodes: false } => &self.stream_address,
            Host::Streaming { decodes: true } => &self.decoded_address,
        };
        address.as_deref()
    }

    /// How to start a host for such cases.
    pub(super) fn launch(&self, host: &Host) -> Option<&LaunchCommand> {
        let command = match host {
            Host::Any | Host::Own { .. } => &self.launch,
            Host::Streaming { decodes: false } => &self.launch_stream,
            Host::Streaming { decodes: true } => &self.launch_decoded,
        };
        command.as_ref()
    }

    /// Whether it can have a case that needs such a host.
    pub(super) fn has(&self, host: &Host) -> bool {
        self.address(host).is_some() || self.launch(host).is_some()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: None,
            launch: None,
            stream_address: None,
            launch_stream: None,
            decoded_address: None,
            launch_decoded: None,
            streams: Streams::default(),
            guest: None,
            log_file: None,
            http: Http::One,
            filter: None,
            profile: Profile::Abi,
            timeout: Duration::from_secs(10),
        }
    }
}

/// The reason why a run can't start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// Neither an address nor a command to start a host was given.
    #[error(
        "nothing to test: pass the URL of a host with --url, a command that starts one with --launch, or \
         --self to test this one"
    )]
    NoTarget,

    /// The kit's own backend can't be started.
    #[error("cannot start the backend: {0}")]
    Backend(#[source] io::Error),

    /// The host under test isn't set up for the kit.
    #[error("{0}")]
    Setup(String),

    /// Guests and configurations can't be written to a temporary directory.
    #[error("cannot write files for the host: {0}")]
    Files(#[source] io::Error),
}
