//! Cases: exchanges, and their expected results.

mod check;
mod compare;
mod evaluate;
mod exchange;
mod observed;
mod report;
mod streams;

use std::collections::BTreeSet;
use std::fmt;

pub use self::check::{Check, Phase};
pub use self::exchange::Exchange;
pub(crate) use self::observed::Observed;
pub(crate) use self::report::value;
pub use self::streams::Streams;
pub use crate::client::Http;
use crate::guest::{Capabilities, Function, Variant};

/// The section of the ABI's description that a case is based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// What a guest is, and when its functions run.
    Guest,
    /// Kinds, features, levels.
    Constants,
    /// Results that contain two numbers.
    PackedResults,
    /// Method, URI, status, headers, configuration.
    Fields,
    /// What is allowed in which phase.
    Phases,
    /// Bodies, their framing, and trailers.
    Bodies,
    /// Messages that are sent while the guest is writing them. Not specified by the ABI, but by `docs/streaming.md`.
    Streaming,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guest => "Guest",
            Self::Constants => "Constants",
            Self::PackedResults => "Packed results",
            Self::Fields => "Fields",
            Self::Phases => "Phases",
            Self::Bodies => "Bodies",
            Self::Streaming => "Streaming",
        })
    }
}

/// The host that a case needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// Any that has the conformance guest loaded.
    #[default]
    Any,
    /// A separate host, started with this guest and configuration.
    Own {
        /// The variant of the guest.
        variant: Variant,
        /// The bytes that `get_config` returns.
        config: Vec<u8>,
    },
    /// A host that lets the guest `stream` write messages while they are sent.
    Streaming {
        /// Whether the guest reads and writes bodies without their content coding.
        decodes: bool,
    },
}

impl Host {
    /// The guest that it has loaded.
    pub(crate) fn variant(&self) -> Variant {
        match self {
            Self::Any => Variant::Conformance,
            Self::Own { variant, .. } => *variant,
            Self::Streaming { .. } => Variant::Stream,
        }
    }
}

/// How the reference host (Go, `net/http`) differs from what the case requires.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    pub(crate) what: &'static str,
    /// What it does instead, if that is harmless. The profile `reference` accepts it.
    pub(crate) expects: Option<Vec<Check>>,
}

/// What a case does.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// One exchange after another.
    InTurn(Vec<Exchange>),
    /// All at the same time.
    Together(Vec<Exchange>),
    /// The host must reject the guest.
    Refused,
}

/// One statement of the ABI, and how to test whether a host conforms to it.
#[derive(Clone, Debug)]
pub struct Case {
    pub(crate) id: String,
    pub(crate) says: String,
    pub(crate) section: Section,
    pub(crate) host: Host,
    /// The messages that the host must let the guest write while they are sent.
    pub(crate) streams: Option<Streams>,
    pub(crate) only: Option<Http>,
    pub(crate) differs: Option<Difference>,
    pub(crate) plan: Plan,
}

impl Case {
    /// A case of one exchange.
    pub fn new(id: impl Into<String>, section: Section, says: impl Into<String>, exchange: Exchange) -> Self {
        Self::of(id, section, says, Plan::InTurn(vec![exchange]))
    }

    pub(crate) fn of(id: impl Into<String>, section: Section, says: impl Into<String>, plan: Plan) -> Self {
        Self {
            id: id.into(),
            says: says.into(),
            section,
            host: Host::Any,
            streams: None,
            only: None,
            differs: None,
            plan,
        }
    }

    /// Runs the case on its own host, with this variant of the guest and this configuration.
    pub fn with_guest(mut self, variant: Variant, config: impl Into<Vec<u8>>) -> Self {
        self.host = Host::Own { variant, config: config.into() };
        self
    }

    /// The same with a host that lets the guest write these messages while they are sent.
    pub(crate) fn streaming(mut self, streams: Streams, decodes: bool) -> Self {
        (self.host, self.streams) = (Host::Streaming { decodes }, Some(streams));
        self
    }

    /// Restricts the case to this HTTP version.
    pub fn only(mut self, http: Http) -> Self {
        self.only = Some(http);
        self
    }

    /// Marks a harmful difference of the reference host.
    pub fn differs(mut self, what: &'static str) -> Self {
        self.differs = Some(Difference { what, expects: None });
        self
    }

    /// Marks a harmless difference of the reference host.
    pub fn harmlessly_differs(mut self, what: &'static str, expects: impl Into<Vec<Check>>) -> Self {
        self.differs = Some(Difference { what, expects: Some(expects.into()) });
        self
    }

    /// `group/name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the ABI says, in one sentence.
    pub fn says(&self) -> &str {
        &self.says
    }

    /// The section of the ABI's description.
    pub fn section(&self) -> Section {
        self.section
    }

    /// The host that it needs.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The messages that the host must let the guest write while they are sent.
    pub fn streams(&self) -> Option<Streams> {
        self.streams
    }

    /// The group: `core` for cases that run against any URL, otherwise the first part of the ID.
    pub fn group(&self) -> &str {
        match self.host {
            Host::Any => "core",
            Host::Own { .. } | Host::Streaming { .. } => self.id.split('/').next().unwrap_or_default(),
        }
    }

    /// How the reference host differs, if it does.
    pub fn difference(&self) -> Option<&'static str> {
        self.differs.as_ref().map(|difference| difference.what)
    }

    /// What a guest needs in order to take part.
    pub(crate) fn needs(&self) -> Capabilities {
        match &self.plan {
            Plan::InTurn(exchanges) | Plan::Together(exchanges) => {
                exchanges.iter().fold(Capabilities::default(), |needs, exchange| needs | exchange.needs())
            }
            Plan::Refused => Capabilities::default(),
        }
    }

    /// The functions that its scripts call, and when.
    pub fn calls(&self) -> BTreeSet<(Function, Phase)> {
        let mut calls = BTreeSet::new();
        if let Host::Own { variant, .. } = self.host {
            let at_start: &[Function] = match variant {
                Variant::Conformance | Variant::Wasi | Variant::NoHandleResponse | Variant::Stream => &[],
                Variant::Early(function) => &[function],
                _ => &[Function::EnableFeatures, Function::GetConfig, Function::Log, Function::LogEnabled],
            };
            calls.extend(at_start.iter().map(|&function| (function, Phase::Start)));
        }
        if let Plan::InTurn(exchanges) | Plan::Together(exchanges) = &self.plan {
            for exchange in exchanges {
                let (before, after) = exchange.scripts();
                calls.extend(before.functions().iter().map(|&function| (function, Phase::Request)));
                calls.extend(after.functions().iter().map(|&function| (function, Phase::Response)));
            }
        }
        calls
    }
}
