//! `http-wasm test`: runs a guest on requests, and compares each exchange with what is expected.

mod args;
mod case;
mod compare;
mod document;
mod file;
mod report;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use http_wasm_gateway::{counted, plain};
use http_wasm_tower::Limits;
use tracing_subscriber::filter::LevelFilter;

use self::document::{Change, Document};
use self::file::TestFile;
use self::report::Outcome;
use crate::args::{ArgsError, EnvVar, Grants, GuestSpec, LintArgs};
use crate::exchange::{Paint, Recorder, Runner};
use crate::failure::Failure;
use crate::guest;
use crate::output::print;

pub(crate) use self::args::TestArgs;

/// How often files are checked for changes.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Runs the cases, and reports the results.
pub(crate) fn run(args: TestArgs) -> Result<(), Failure> {
    if args.schema {
        return print(&format!("{:#}\n", schemars::schema_for!(TestFile).to_value()));
    }
    let test = Test::resolve(args)?;
    // The level is fixed here, even if the file changes later: a process can have only one subscriber.
    let level = test.read().ok().and_then(|document| level_of(&document.file).ok());
    let recorder = Runner::recorder(level.unwrap_or(LevelFilter::INFO))?;
    if !test.watch {
        return test.once(&recorder);
    }
    loop {
        let seen = test.fingerprint();
        match test.once(&recorder) {
            Ok(()) => {}
            Err(failure) => print(&format!("{failure}\n"))?,
        }
        print("watching for changes; press Ctrl-C to stop\n")?;
        while test.fingerprint() == seen {
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// What to test.
struct Test {
    guest: PathBuf,
    tests: PathBuf,
    filter: Option<String>,
    junit: Option<PathBuf>,
    update: bool,
    watch: bool,
    verbose: bool,
    grants: Grants,
    lints: LintArgs,
}

impl Test {
    fn resolve(args: TestArgs) -> Result<Self, ArgsError> {
        let grants = args.grants.resolve()?;
        let TestArgs { filter, junit, update, watch, verbose, lints, .. } = args;
        // clap ensures that both are present.
        let (guest, tests) = (args.guest.unwrap_or_default(), args.tests.unwrap_or_default());
        Ok(Self { guest, tests, filter, junit, update, watch, verbose, grants, lints })
    }

    fn read(&self) -> Result<Document, ArgsError> {
        let refused = |reason| ArgsError::flag("tests", self.tests.display(), reason);
        let text = fs::read_to_string(&self.tests).map_err(|error| refused(plain(&error)))?;
        Document::parse(text).map_err(refused)
    }

    /// Modification time and size of the files.
    fn fingerprint(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.guest, &self.tests].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    fn once(&self, recorder: &Recorder) -> Result<(), Failure> {
        let paint = Paint::of(&io::stdout());
        let document = self.read()?;
        level_of(&document.file).map_err(|reason| self.refused(reason))?;
        let mut runners = Runners { test: self, file: &document.file, recorder, loaded: HashMap::new() };
        // A guest that can't be loaded is reported once, not for each case.
        runners.of(None)?;
        let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
        let started = Instant::now();
        for (at, case) in document.file.cases.iter().enumerate() {
            if self.filter.as_ref().is_some_and(|filter| !case.name.contains(&**filter)) {
                continue;
            }
            let runner = runners.of(case.config.as_deref())?;
            let case_started = Instant::now();
            let (invalid, differences, entries) = match case.ready() {
                Err(reason) => (Some(reason), Vec::new(), Vec::new()),
                Ok(ready) => {
                    let result = runner.run(&ready.request, ready.client, &ready.next);
                    let differences = compare::compare(&case.expect, &result);
                    if self.update {
                        changes.extend(differences.iter().filter_map(|difference| difference.change(at)));
                        if !document.has_expectations(at) {
                            changes.extend(compare::expectations(at, &result));
                        }
                    }
                    (None, differences, result.entries)
                }
            };
            let (name, line, took) = (case.name.clone(), document.line_of_case(at), case_started.elapsed());
            let outcome = Outcome { name, line, took, invalid, differences, entries };
            if !outcome.passed() {
                print(&outcome.explain(&self.tests.display().to_string(), paint))?;
            } else if self.verbose {
                print(&format!("{}ok{} {}\n", paint.good.render(), paint.good.render_reset(), outcome.name))?;
            }
            // The trace of a passed case is no longer needed.
            let entries = if outcome.passed() { Vec::new() } else { outcome.entries };
            outcomes.push(Outcome { entries, ..outcome });
        }
        let took = started.elapsed();
        if let Some(path) = &self.junit {
            let text = report::junit(
                &self.guest.display().to_string(),
                &self.tests.display().to_string(),
                &outcomes,
            );
            write(path, &text)?;
        }
        if self.update {
            self.save(&document, &changes)?;
        }
        self.print_summary(&outcomes, took)
    }

    fn save(&self, document: &Document, changes: &[Change]) -> Result<(), Failure> {
        let text = document.changed(changes);
        // Never replace a valid file with an invalid one.
        let checked = Document::parse(text.clone());
        checked
            .map_err(|reason| Failure::Other(format!("--update would write an invalid file: {reason}")))?;
        write(&self.tests, &text)?;
        print(&format!("updated {}\n", self.tests.display()))
    }

    fn print_summary(&self, outcomes: &[Outcome], took: Duration) -> Result<(), Failure> {
        let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
        let all = outcomes.len();
        match (all, failed) {
            (0, _) if self.filter.is_some() => Err(Failure::Other("no case matches the filter".to_owned())),
            (0, _) => Err(self.refused("the file has no [[case]]".to_owned())),
            (_, 0) => {
                let seconds = took.as_secs_f64();
                print(&format!("{} passed in {seconds:.3} s\n", counted(all, "case")))
            }
            (_, failed) => Err(Failure::Cases { failed, all }),
        }
    }

    fn refused(&self, reason: String) -> Failure {
        ArgsError::flag("tests", self.tests.display(), reason).into()
    }

    fn spec(&self, file: &TestFile, config: Option<&str>) -> Result<GuestSpec, ArgsError> {
        let config = match (config, file.config.as_deref(), &file.config_file) {
            (None, Some(_), Some(_)) => {
                let reason = "`config` and `config_file` are mutually exclusive".to_owned();
                return Err(ArgsError::flag("tests", self.tests.display(), reason));
            }
            (Some(config), ..) | (None, Some(config), None) => config.as_bytes().to_vec(),
            (None, None, Some(path)) => {
                let path = self.tests.parent().unwrap_or(Path::new("")).join(path);
                fs::read(&path).map_err(|error| ArgsError::ConfigFile { path, reason: plain(&error) })?
            }
            (None, None, None) => Vec::new(),
        };
        let mut grants = self.grants.clone();
        let env = file.env.iter().map(|(key, value)| EnvVar { key: key.clone(), value: value.clone() });
        grants.env.extend(env);
        let spec = GuestSpec::resolve(self.guest.clone(), None, grants)?;
        let limits = Limits { log_rate: u32::MAX, ..Limits::default() };
        Ok(GuestSpec { config, lints: self.lints.clone(), limits, ..spec })
    }
}

/// The guest, loaded once for each configuration.
struct Runners<'a> {
    test: &'a Test,
    file: &'a TestFile,
    recorder: &'a Recorder,
    loaded: HashMap<Option<String>, Runner>,
}

impl Runners<'_> {
    fn of(&mut self, config: Option<&str>) -> Result<&Runner, Failure> {
        let key = config.map(str::to_owned);
        if !self.loaded.contains_key(&key) {
            let spec = self.test.spec(self.file, config)?;
            let runner = Runner::load(&spec, self.recorder.clone())?;
            if self.loaded.is_empty() {
                guest::print_warnings(runner.guest());
            }
            // The guest's start-up isn't part of a case.
            self.recorder.take();
            self.loaded.insert(key.clone(), runner);
        }
        Ok(&self.loaded[&key])
    }
}

fn level_of(file: &TestFile) -> Result<LevelFilter, String> {
    match &file.log_level {
        None => Ok(LevelFilter::INFO),
        Some(level) => level.parse().map_err(|_| {
            format!("log_level: unknown level {level:?}; expected off, error, warn, info or debug")
        }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::Other(format!("cannot write {}: {}", path.display(), plain(&error))))
}
