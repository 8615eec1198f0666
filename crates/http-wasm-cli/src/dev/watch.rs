//! Detects changes of files by polling, which, unlike notifications from the system, works on any file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http_wasm_gateway::recording::is_recording;

/// How often files are polled. A change counts once the files have been unchanged for this long, since saving several
/// of them takes many steps.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum number of watched files. A directory with more contains something other than source.
const MAX_FILES: usize = 20_000;

/// Directories that build tools write to.
const IGNORED_DIRECTORIES: &[&str] = &["target", "node_modules", "zig-out", "zig-cache", "__pycache__"];

/// Watches the source of a guest, and the files that the gateway reads.
#[derive(Debug)]
pub(super) struct Watcher {
    source: Option<PathBuf>,
    inputs: Vec<PathBuf>,
    seen: Files,
    /// Files that changed during the last build.
    changed_during_build: BTreeSet<PathBuf>,
    /// Files that builds write.
    outputs: BTreeSet<PathBuf>,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A source file: the guest must be rebuilt.
    Source,
    /// Only a file that the gateway reads.
    Input,
}

/// Modification time and size of each file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Files {
    source: BTreeMap<PathBuf, FileVersion>,
    inputs: Vec<Option<FileVersion>>,
    is_truncated: bool,
}

type FileVersion = (SystemTime, u64);

impl Watcher {
    /// Watches for changes from now on.
    pub(super) fn new(source: Option<PathBuf>, inputs: Vec<PathBuf>) -> Self {
        let seen = Files::scan(source.as_deref(), &inputs);
        if let (true, Some(source)) = (seen.is_truncated, &source) {
            tracing::warn!(
                "{} has more than {MAX_FILES} files, and changes to the others aren't noticed; use --watch with the \
                 directory that has the guest's source",
                source.display()
            );
        }
        Self { source, inputs, seen, changed_during_build: BTreeSet::new(), outputs: BTreeSet::new() }
    }

    /// Completes when files have changed and then stayed the same for a while.
    pub(super) async fn changed(&mut self) -> Change {
        let mut last = None;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = self.scan().await;
            if now == self.seen {
                last = None;
            } else if last.as_ref() == Some(&now) {
                let change = if now.source == self.seen.source { Change::Input } else { Change::Source };
                self.seen = now;
                return change;
            } else {
                last = Some(now);
            }
        }
    }

    /// To be called when a build has ended, before its guest is loaded. Source that changed during the build counts as
    /// a change, except for files that change during every build, which are those that the build itself writes.
    pub(super) async fn built(&mut self) {
        let now = self.scan().await;
        let paths = now.source.keys().chain(self.seen.source.keys());
        let changed: BTreeSet<PathBuf> =
            paths.filter(|path| now.source.get(*path) != self.seen.source.get(*path)).cloned().collect();
        for path in &changed {
            if self.changed_during_build.contains(path) && self.outputs.insert(path.clone()) {
                tracing::info!(
                    "{} changes during each build, so changes to it during a build don't start another one",
                    path.display()
                );
            }
            if self.outputs.contains(path) {
                match now.source.get(path) {
                    Some(version) => drop(self.seen.source.insert(path.clone(), *version)),
                    None => drop(self.seen.source.remove(path)),
                }
            }
        }
        self.changed_during_build = changed;
        self.seen.inputs = now.inputs;
    }

    async fn scan(&self) -> Files {
        let (source, inputs) = (self.source.clone(), self.inputs.clone());
        let scan = tokio::task::spawn_blocking(move || Files::scan(source.as_deref(), &inputs));
        scan.await.unwrap_or_else(|_| self.seen.clone())
    }
}

impl Files {
    fn scan(source: Option<&Path>, inputs: &[PathBuf]) -> Self {
        let versions = inputs.iter().map(|path| version(&fs::metadata(path).ok()?)).collect();
        let mut seen = Self { inputs: versions, ..Self::default() };
        // The guest may be in its source directory.
        let inputs: Vec<_> = inputs.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        let is_input = |path: &Path| {
            let named = inputs.iter().any(|input| input.file_name() == path.file_name());
            named && fs::canonicalize(path).is_ok_and(|path| inputs.contains(&path))
        };
        let mut directories: Vec<PathBuf> = source.into_iter().map(Path::to_owned).collect();
        while let Some(directory) = directories.pop() {
            // A directory that can't be read may have been removed meanwhile.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if seen.source.len() >= MAX_FILES {
                    seen.is_truncated = true;
                    return seen;
                }
                let (path, name) = (entry.path(), entry.file_name());
                let name = name.to_string_lossy();
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    if !name.starts_with('.') && !IGNORED_DIRECTORIES.contains(&&*name) {
                        directories.push(path);
                    }
                } else if !is_ignored(&name)
                    && let Ok(found) = fs::metadata(&path)
                    // A link to a directory may lead anywhere.
                    && found.is_file()
                    && let Some(version) = version(&found)
                    && !is_input(&path)
                {
                    seen.source.insert(path, version);
                }
            }
        }
        seen
    }
}

/// Whether editors, tests, builds, `--record` or a redirected `dev` write files with this name.
fn is_ignored(name: &str) -> bool {
    let ends = [".wasm", ".o", ".log", ".out", "~"];
    name.starts_with('.') || ends.iter().any(|end| name.ends_with(end)) || is_recording(name)
}

fn version(found: &Metadata) -> Option<FileVersion> {
    Some((found.modified().ok()?, found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a file longer, so that its size differs.
    fn grow(path: &Path) {
        let length = fs::metadata(path).map_or(0, |found| found.len());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x".repeat(length as usize + 1)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_source_and_input_are_told_apart_and_outputs_are_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["src/lib.rs", "guest.wasm"] {
            grow(&at(name));
        }
        let mut watcher = Watcher::new(Some(directory.path().to_owned()), vec![at("guest.wasm")]);
        for name in [
            "target/x.rs",
            ".git/index",
            "node_modules/a/b.js",
            "src/.lib.rs.swp",
            "src/lib.rs~",
            "a.o",
            "dev.log",
            "recordings/2026-1.http-wasm.har",
        ] {
            grow(&at(name));
        }
        grow(&at("guest.wasm"));
        assert_eq!(watcher.changed().await, Change::Input);
        grow(&at("src/deep/er/new.rs"));
        assert_eq!(watcher.changed().await, Change::Source);
        fs::remove_file(at("src/lib.rs")).unwrap();
        assert_eq!(watcher.changed().await, Change::Source);
    }

    #[tokio::test(start_paused = true)]
    async fn source_saved_during_a_build_starts_another_and_what_builds_write_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        grow(&at("main.c"));
        let mut watcher = Watcher::new(Some(directory.path().to_owned()), Vec::new());
        let quiet = async |watcher: &mut Watcher| {
            let changed = tokio::time::timeout(Duration::from_secs(5), watcher.changed());
            changed.await.is_err()
        };
        // During the first build, the author saves a file and the build writes another.
        grow(&at("main.c"));
        grow(&at("generated.h"));
        watcher.built().await;
        assert_eq!(watcher.changed().await, Change::Source);
        grow(&at("generated.h"));
        watcher.built().await;
        assert!(quiet(&mut watcher).await, "{watcher:?}");
        // The author may still edit it between builds.
        grow(&at("generated.h"));
        assert_eq!(watcher.changed().await, Change::Source);
    }
}
