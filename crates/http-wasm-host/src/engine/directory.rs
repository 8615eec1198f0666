//! The directory of a cache. It is kept open: file names are relative to it, and symbolic links in it aren't followed.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// An open directory. Later changes to its path have no effect.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    #[cfg(unix)]
    held: File,
}

/// A file in it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) modified: SystemTime,
    pub(super) len: u64,
    pub(super) name: OsString,
}

impl Directory {
    /// The path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(unix)]
mod imp {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    use std::time::Duration;

    use rustix::fs::{AtFlags, Dir, Mode, OFlags};

    use super::*;

    const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

    impl Directory {
        /// Opens a directory. If it doesn't exist, it is created with access only for this user.
        pub(in super::super) fn open(path: PathBuf) -> io::Result<Self> {
            create(&path)?;
            let held = File::open(&path)?;
            match held.metadata()?.is_dir() {
                true => Ok(Self { path, held }),
                false => Err(io::ErrorKind::NotADirectory.into()),
            }
        }

        /// Like [`open`](Self::open), for a directory that must belong to this user, be writable by no other user, and
        /// not be a symbolic link.
        pub(in super::super) fn open_private(path: PathBuf) -> Result<Self, String> {
            let failed = |error: io::Error| error.to_string();
            create(&path).map_err(failed)?;
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            let held = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
            let held = File::from(held);
            let metadata = held.metadata().map_err(failed)?;
            if metadata.uid() != rustix::process::geteuid().as_raw() {
                return Err("it belongs to another user".into());
            }
            if metadata.mode() & 0o022 != 0 {
                return Err("it is writable by other users".into());
            }
            Ok(Self { path, held })
        }

        /// How users other than this one and root can write to it, if they can.
        pub(in super::super) fn foreign(&self) -> Option<&'static str> {
            foreign(&self.held).ok().flatten()
        }

        pub(in super::super) fn read(&self, name: &Path) -> io::Result<File> {
            // Opening a FIFO must not block.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            Ok(File::from(rustix::fs::openat(&self.held, name, flags, Mode::empty())?))
        }

        /// Creates a file that doesn't exist yet, with access only for this user.
        pub(in super::super) fn create(&self, name: &Path) -> io::Result<File> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(File::from(rustix::fs::openat(&self.held, name, flags, PRIVATE)?))
        }

        pub(in super::super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            Ok(rustix::fs::renameat(&self.held, from, &self.held, to)?)
        }

        pub(in super::super) fn remove(&self, name: &Path) -> io::Result<()> {
            Ok(rustix::fs::unlinkat(&self.held, name, AtFlags::empty())?)
        }

        pub(in super::super) fn entries(&self) -> io::Result<Vec<Entry>> {
            let mut entries = Vec::new();
            for entry in Dir::read_from(&self.held)? {
                let entry = entry?;
                let name = OsString::from(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()));
                // Another process may have removed it meanwhile.
                let Ok(stat) = rustix::fs::statat(&self.held, &name, AtFlags::SYMLINK_NOFOLLOW) else {
                    continue;
                };
                if name == "." || name == ".." {
                    continue;
                }
                let since = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
                let len = u64::try_from(stat.st_size).unwrap_or(0);
                entries.push(Entry { modified: SystemTime::UNIX_EPOCH + since, len, name });
            }
            Ok(entries)
        }
    }

    fn create(path: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
    }

    /// How users other than this one and root can change a file or directory, if they can.
    pub(in super::super) fn foreign(file: &File) -> io::Result<Option<&'static str>> {
        const ROOT: u32 = 0;
        const WRITABLE_BY_OTHERS: u32 = 0o022;
        let metadata = file.metadata()?;
        Ok(if ![ROOT, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) {
            Some("belongs to another user")
        } else if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            Some("is writable by other users")
        } else {
            None
        })
    }
}

#[cfg(not(unix))]
mod imp {
    use std::fs;

    use super::*;

    impl Directory {
        pub(in super::super) fn open(path: PathBuf) -> io::Result<Self> {
            fs::create_dir_all(&path)?;
            Ok(Self { path })
        }

        pub(in super::super) fn open_private(_: PathBuf) -> Result<Self, String> {
            Err("this system doesn't tell who can write to it".into())
        }

        pub(in super::super) fn foreign(&self) -> Option<&'static str> {
            None
        }

        pub(in super::super) fn read(&self, name: &Path) -> io::Result<File> {
            File::open(self.path.join(name))
        }

        pub(in super::super) fn create(&self, name: &Path) -> io::Result<File> {
            File::create_new(self.path.join(name))
        }

        pub(in super::super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            fs::rename(self.path.join(from), self.path.join(to))
        }

        pub(in super::super) fn remove(&self, name: &Path) -> io::Result<()> {
            fs::remove_file(self.path.join(name))
        }

        pub(in super::super) fn entries(&self) -> io::Result<Vec<Entry>> {
            let mut entries = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                let Ok(metadata) = entry.metadata() else { continue };
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                entries.push(Entry { modified, len: metadata.len(), name: entry.file_name() });
            }
            Ok(entries)
        }
    }

    pub(in super::super) fn foreign(_: &File) -> io::Result<Option<&'static str>> {
        Ok(None)
    }
}

pub(super) use self::imp::foreign;
