//! How files look from outside, to see that they have changed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a file's directory entry said, or that there is none.
type Stamp = Option<(SystemTime, u64, u64)>;

/// The stamps of some files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<(PathBuf, Stamp)>);

impl Stamps {
    /// How these files look now; unless all is well with them, their directories too, for one that was named but not there may
    /// come.
    pub(super) async fn of(files: Vec<PathBuf>, all_well: bool) -> Self {
        let look = move || {
            let directories = files.iter().filter(|_| !all_well).filter_map(|file| directory(file));
            let all = files.iter().cloned().chain(directories);
            Self(all.map(|path| (path.clone(), stamp(&path))).collect())
        };
        tokio::task::spawn_blocking(look).await.unwrap_or(Self(Vec::new()))
    }
}

fn directory(file: &Path) -> Option<PathBuf> {
    match file.parent()? {
        parent if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => Some(parent.to_owned()),
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    // Another file may have taken the name, with the same length and the time that it was given.
    #[cfg(unix)]
    let identity = std::os::unix::fs::MetadataExt::ino(&found);
    #[cfg(not(unix))]
    let identity = 0;
    Some((found.modified().ok()?, found.len(), identity))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Stamps;

    #[tokio::test]
    async fn a_file_that_is_replaced_by_one_of_the_same_length_and_time_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let (file, other) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&file, "1").unwrap();
        fs::write(&other, "2").unwrap();
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        let before = Stamps::of(vec![file.clone()], true).await;
        assert_eq!(before, Stamps::of(vec![file.clone()], true).await);
        fs::rename(&other, &file).unwrap();
        assert_ne!(before, Stamps::of(vec![file], true).await);
    }

    #[tokio::test]
    async fn a_new_file_beside_is_seen_only_when_something_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        fs::write(&file, "1").unwrap();
        let both = async |all_well| Stamps::of(vec![file.clone()], all_well).await;
        let before = (both(true).await, both(false).await);
        // Until the directory has another time than before, which is coarse on some file systems.
        while both(false).await == before.1 {
            fs::write(directory.path().join("b"), "2").unwrap();
            fs::remove_file(directory.path().join("b")).unwrap();
        }
        assert_eq!(both(true).await, before.0);
    }
}
