//! File fingerprints: metadata of files, for detecting changes.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The modification time, size and inode number of a file. `None` if there is no file.
type Fingerprint = Option<(SystemTime, u64, u64)>;

/// The fingerprints of some files. They are taken before the files are read, so that no later change is missed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fingerprints(Vec<(PathBuf, Fingerprint)>);

impl Fingerprints {
    /// The current fingerprints of these files.
    pub(crate) fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(files.into_iter().map(|path| (path.clone(), fingerprint(&path))).collect())
    }

    /// The same with the files' directories, since a missing file may appear.
    pub(crate) fn with_directories(files: Vec<PathBuf>) -> Self {
        let directories: Vec<_> = files.iter().filter_map(|file| directory(file)).collect();
        Self::of(files.into_iter().chain(directories))
    }

    /// The files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().map(|(path, _)| path)
    }

    /// These and `more`.
    pub(crate) fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }
}

fn directory(file: &Path) -> Option<PathBuf> {
    match file.parent()? {
        parent if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => Some(parent.to_owned()),
    }
}

fn fingerprint(path: &Path) -> Fingerprint {
    let found = std::fs::metadata(path).ok()?;
    // Another file may have taken the name, with the same length and a preserved modification time.
    #[cfg(unix)]
    let identity = std::os::unix::fs::MetadataExt::ino(&found);
    #[cfg(not(unix))]
    let identity = 0;
    Some((found.modified().ok()?, found.len(), identity))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Fingerprints;

    #[test]
    fn a_file_replaced_by_one_of_the_same_length_and_time_is_detected() {
        let directory = tempfile::tempdir().unwrap();
        let (file, other) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&file, "1").unwrap();
        fs::write(&other, "2").unwrap();
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        let before = Fingerprints::of([file.clone()]);
        assert_eq!(before, Fingerprints::of([file.clone()]));
        fs::rename(&other, &file).unwrap();
        assert_ne!(before, Fingerprints::of([file]));
    }

    #[test]
    fn a_new_file_in_the_directory_is_detected_only_if_directories_are_included() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        fs::write(&file, "1").unwrap();
        let (alone, both) =
            (|| Fingerprints::of([file.clone()]), || Fingerprints::with_directories(vec![file.clone()]));
        let before = (alone(), both());
        // Until the directory's modification time differs, which has a coarse resolution on some file systems.
        while both() == before.1 {
            fs::write(directory.path().join("b"), "2").unwrap();
            fs::remove_file(directory.path().join("b")).unwrap();
        }
        assert_eq!(alone(), before.0);
    }
}
