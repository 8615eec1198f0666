//! `http-wasm check`: reports what a guest file needs and what is wrong with it.

mod args;

use std::fmt;

use http_wasm_tower::{Guest, LoadError, Warning};
use serde::Serialize;

use self::args::Check;
use crate::failure::Failure;
use crate::guest;
use crate::logging;
use crate::output::print;

pub(crate) use self::args::CheckArgs;

/// Loads the guest and reports on it: its properties on stdout and problems on stderr, or with `--json`, both on
/// stdout.
pub(crate) fn run(args: CheckArgs) -> Result<(), Failure> {
    let check = Check::resolve(args)?;
    logging::init_for_check()?;
    let checked = load(&check);
    if check.json {
        let report = match &checked {
            Ok((report, _)) => serde_json::to_value(report),
            Err(failure) => Ok(serde_json::json!({ "valid": false, "error": failure.to_string() })),
        };
        let report =
            report.map_err(|error| Failure::Other(format!("cannot write the report as JSON: {error}")))?;
        print(&format!("{report}\n"))?;
    }
    let (report, refused) = checked?;
    if !check.json {
        print(&format!("{report}\n"))?;
        for warning in &report.warnings {
            guest::print_warning(&format!("{} (`{}`)", warning.text, warning.lint));
        }
    }
    refused.map_or(Ok(()), |refused| Err(refused.into()))
}

/// The guest's properties, and the error if the requested snapshot isn't possible.
fn load(check: &Check) -> Result<(Report, Option<LoadError>), Failure> {
    let engine = http_wasm_tower::Engine::new()?;
    let Some(snapshot) = check.snapshot else {
        return Ok((Report::of(&guest::load(&engine, &check.guest)?, None), None));
    };
    match guest::builder(&engine, &check.guest).snapshot(snapshot).load_file(&check.guest.path) {
        Ok(guest) => {
            let answer = SnapshotReport::possible(&guest);
            Ok((Report::of(&guest, Some(answer)), None))
        }
        Err(refused @ LoadError::Snapshot { .. }) => {
            let answer = SnapshotReport::refused(&refused);
            Ok((Report::of(&guest::load(&engine, &check.guest)?, Some(answer)), Some(refused)))
        }
        Err(error) => Err(error.into()),
    }
}

/// What `check` reports about a valid guest.
#[derive(Debug, Serialize)]
struct Report {
    guest: String,
    valid: bool,
    producers: Vec<String>,
    /// `module.name`, in the module's order.
    imports: Vec<String>,
    features_at_start: Vec<&'static str>,
    reads_bodies: bool,
    needs_wasi: bool,
    start_functions: Vec<&'static str>,
    memory_bytes_at_start: usize,
    code_bytes: usize,
    debug_info_bytes: usize,
    /// The file with the rest of the debug information, which isn't read.
    #[serde(skip_serializing_if = "Option::is_none")]
    separate_debug_info: Option<String>,
    compile_milliseconds: f64,
    instantiation_milliseconds: f64,
    warnings: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<SnapshotReport>,
}

/// Whether instances can start from a snapshot.
#[derive(Debug, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
enum SnapshotReport {
    /// No code runs when an instance is created.
    NotNeeded,
    Possible {
        /// What each instance saves.
        start_milliseconds: f64,
        module_bytes: usize,
    },
    Refused {
        reason: String,
        /// Innermost first; empty if the module itself is the reason.
        calls: Vec<String>,
    },
}

impl SnapshotReport {
    fn possible(guest: &Guest) -> Self {
        match guest.facts().snapshot {
            None => Self::NotNeeded,
            Some(facts) => Self::Possible {
                start_milliseconds: facts.start_time.as_secs_f64() * 1e3,
                module_bytes: facts.module_bytes,
            },
        }
    }

    fn refused(error: &LoadError) -> Self {
        let (reason, backtrace) = match error {
            LoadError::Snapshot { reason, backtrace, .. } => (reason.clone(), backtrace.as_deref()),
            error => (error.to_string(), None),
        };
        let mut calls: Vec<String> = Vec::new();
        for line in backtrace.into_iter().flat_map(str::lines).map(str::trim) {
            match calls.last_mut() {
                // The further lines of the same call.
                Some(call) if line.starts_with(['a', '-']) => *call += &format!(" {line}"),
                _ => calls.push(line.to_owned()),
            }
        }
        Self::Refused { reason, calls }
    }
}

impl Report {
    fn of(guest: &Guest, snapshot: Option<SnapshotReport>) -> Self {
        let facts = guest.facts();
        let inspection = &facts.inspection;
        let start_functions = [
            (inspection.has_start_function(), "start section"),
            (inspection.exports_initialize(), "_initialize"),
            (inspection.exports_start(), "_start"),
        ];
        Self {
            guest: guest.name().to_owned(),
            valid: true,
            producers: inspection.producers().iter().map(ToString::to_string).collect(),
            imports: inspection.imports().iter().map(|i| format!("{}.{}", i.module, i.name)).collect(),
            features_at_start: facts.features.names().collect(),
            reads_bodies: inspection.imports().iter().any(|import| import.name == "read_body"),
            needs_wasi: inspection.needs_wasi(),
            start_functions: start_functions
                .into_iter()
                .filter(|(has, _)| *has)
                .map(|(_, name)| name)
                .collect(),
            memory_bytes_at_start: facts.memory_bytes,
            code_bytes: facts.code_bytes,
            debug_info_bytes: facts.debug_info_bytes,
            separate_debug_info: facts.separate_debug_info.clone(),
            compile_milliseconds: facts.compile_time.as_secs_f64() * 1e3,
            instantiation_milliseconds: facts.start_time.as_secs_f64() * 1e3,
            warnings: facts.warnings.iter().map(Finding::of).collect(),
            snapshot,
        }
    }
}

/// A probable problem in how the guest was built.
#[derive(Debug, Serialize)]
struct Finding {
    /// The name of the check.
    lint: &'static str,
    text: String,
}

impl Finding {
    fn of(warning: &Warning) -> Self {
        Self { lint: warning.lint.name(), text: warning.to_string() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: a valid guest", self.guest)?;
        line(f, "made with", &list(&self.producers))?;
        line(f, "imports", &list(&self.imports))?;
        line(f, "features at start-up", &list(&self.features_at_start))?;
        if self.reads_bodies {
            line(f, "reads bodies", READS_BODIES)?;
        }
        line(f, "needs WASI", if self.needs_wasi { "yes" } else { "no" })?;
        line(f, "runs at start-up", &list(&self.start_functions))?;
        line(f, "memory at start-up", &format!("{} KiB", self.memory_bytes_at_start / 1024))?;
        line(f, "machine code", &format!("{} KiB", self.code_bytes / 1024))?;
        if self.debug_info_bytes > 0 {
            line(f, "debug information", &format!("{} KiB", self.debug_info_bytes.div_ceil(1024)))?;
        }
        if let Some(file) = &self.separate_debug_info {
            let what = format!(
                "more in {file:?}, which isn't read: build without separate or split debug information"
            );
            line(f, "", &what)?;
        }
        line(f, "compilation", &format!("{:.1} ms", self.compile_milliseconds))?;
        write!(f, "  {:<18} {:.3} ms", "instantiation", self.instantiation_milliseconds)?;
        match &self.snapshot {
            Some(snapshot) => write!(f, "\n  {:<18} {snapshot}", "snapshot"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SnapshotReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNeeded => write!(f, "not needed: nothing runs at start-up"),
            Self::Possible { start_milliseconds, module_bytes } => write!(
                f,
                "yes: saves each instance {start_milliseconds:.1} ms of start-up; {} KiB including the \
                 module",
                module_bytes / 1024
            ),
            Self::Refused { reason, calls } => {
                write!(f, "no: {reason}")?;
                calls.iter().try_for_each(|call| write!(f, "\n  {:<18}   {call}", ""))
            }
        }
    }
}

const READS_BODIES: &str = "yes: to read the content of compressed ones, set `bodies = \"decoded\"`, or prevent \
                            compression by setting `accept_encoding` and `range` of its routes to \"strip\"";

fn line(f: &mut fmt::Formatter<'_>, what: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {what:<18} {value}")
}

fn list<T: AsRef<str>>(items: &[T]) -> String {
    match items {
        [] => "none".to_owned(),
        items => items.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
    }
}
