//! The directory of recordings, whose number and total size are limited.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error_text::plain;

/// The suffix of recordings. No other files in the directory are touched.
const SUFFIX: &str = ".http-wasm.har";
/// The suffix of a recording that is being written.
const UNFINISHED: &str = ".http-wasm.har.unfinished";

/// Whether a file of this name is a recording, or will be one when it has been written.
pub fn is_recording(name: &str) -> bool {
    name.ends_with(SUFFIX) || name.ends_with(UNFINISHED)
}

/// Writes recordings, and removes the oldest beyond the limits.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    max_files: usize,
    max_bytes: u64,
    /// The recordings, oldest first, with their sizes.
    files: VecDeque<(OsString, u64)>,
    bytes: u64,
    next: u64,
}

impl Directory {
    /// Creates the directory, with access only for this user, unless it exists.
    ///
    /// # Errors
    /// A description of what is wrong with the directory.
    pub(super) fn open(path: &Path, max_files: usize, max_bytes: u64) -> Result<Self, String> {
        let shown = path.display();
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        builder.mode(0o700);
        match builder.create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(format!("cannot create the directory {shown}: {}", plain(&error))),
        }
        #[cfg(unix)]
        {
            let mode = fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o7777);
            if mode & 0o077 != 0 {
                return Err(format!(
                    "the directory {shown} is accessible to other users (mode {mode:04o}); run chmod 700 on it"
                ));
            }
        }
        let mut directory =
            Self { path: path.to_owned(), max_files, max_bytes, files: VecDeque::new(), bytes: 0, next: 0 };
        directory.look().map_err(|error| format!("cannot read the directory {shown}: {}", plain(&error)))?;
        directory.prune();
        Ok(directory)
    }

    /// Finds existing recordings, and removes unfinished ones of earlier processes.
    fn look(&mut self) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text.ends_with(UNFINISHED) {
                let _ = fs::remove_file(entry.path());
            } else if text.ends_with(SUFFIX) {
                found.push((name, entry.metadata().map_or(0, |found| found.len())));
            }
        }
        // Names begin with the time.
        found.sort();
        self.bytes = found.iter().map(|(_, size)| size).sum();
        self.files = found.into();
        Ok(())
    }

    /// Writes a recording, whose name begins with this time. Returns its path.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(super) fn write(&mut self, time: &str, content: &[u8]) -> io::Result<PathBuf> {
        let time = time.replace(':', "");
        let (path, name) = loop {
            self.next += 1;
            // A draining predecessor may also be writing here.
            let name = format!("{time}-{}-{:06}{SUFFIX}", std::process::id(), self.next);
            let path = self.path.join(&name);
            if !path.exists() {
                break (path, name);
            }
        };
        let unfinished = path.with_file_name(name.replace(SUFFIX, UNFINISHED));
        let written = create(&unfinished).and_then(|mut file| file.write_all(content));
        if let Err(error) = written.and_then(|()| fs::rename(&unfinished, &path)) {
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        self.files.push_back((name.into(), content.len() as u64));
        self.bytes += content.len() as u64;
        self.prune();
        Ok(path)
    }

    fn prune(&mut self) {
        while self.files.len() > self.max_files || self.bytes > self.max_bytes {
            let Some((name, size)) = self.files.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(size);
            // It may have been removed already.
            let _ = fs::remove_file(self.path.join(name));
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_and_their_directory_are_accessible_only_to_their_user() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("recordings");
        let mut directory = Directory::open(&path, 10, 1000).unwrap();
        let file = directory.write("2026-01-01T00:00:00.000Z", b"{}").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&file)), (0o700, 0o600));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let refused = Directory::open(&path, 10, 1000).unwrap_err();
        assert!(refused.contains("mode 0750") && refused.contains("chmod 700"), "{refused}");
    }

    #[test]
    fn the_oldest_recordings_make_room_and_other_files_stay() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("recordings");
        let mut directory = Directory::open(&path, 3, 25).unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        fs::write(path.join(format!("0{UNFINISHED}")), "half").unwrap();
        for (second, content) in [(1, "12345678"), (2, "12345678"), (3, "12345678"), (4, "1"), (5, "1")] {
            directory.write(&format!("2026-01-01T00:00:0{second}.000Z"), content.as_bytes()).unwrap();
        }
        let seconds = |names: &[String]| {
            let of = |name: &String| name.split("T00000").nth(1).and_then(|rest| rest.chars().next());
            names.iter().filter_map(of).collect::<String>()
        };
        assert_eq!(seconds(&names(&path)), "345");
        // The next process continues with them.
        let mut directory = Directory::open(&path, 3, 25).unwrap();
        directory.write("2026-01-01T00:00:06.000Z", &[b'x'; 20]).unwrap();
        assert_eq!(seconds(&names(&path)), "456");
        assert!(names(&path).contains(&"notes.txt".to_owned()));
        assert!(!names(&path).iter().any(|name| name.ends_with("unfinished")));
    }
}
