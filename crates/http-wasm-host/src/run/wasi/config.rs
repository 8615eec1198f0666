//! What a WASI guest has access to.

use std::collections::HashSet;
use std::path::PathBuf;

/// What a guest that imports `wasi_snapshot_preview1` gets in addition to clocks and random bytes. By default, it gets
/// no arguments, environment variables or files. There is never a network.
///
/// ```
/// use http_wasm_host::{Mount, WasiConfig};
///
/// let wasi = WasiConfig {
///     env: vec![("RULES".into(), "/rules/default.conf".into())],
///     mounts: vec![Mount::read_only("/etc/waf", "/rules")],
///     ..WasiConfig::default()
/// };
/// # let _ = wasi;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WasiConfig {
    /// The guest's arguments. The guest's name is inserted before them, as programs expect.
    pub args: Vec<String>,
    /// The names and values of environment variables. The host's own environment is never passed on.
    pub env: Vec<(String, String)>,
    /// Directories of the host that the guest can access. With any mounts, each call into the guest runs on a fiber,
    /// because reading a file makes the guest wait. File operations run on up to 16 threads that only this guest's
    /// instances share. Only regular files and directories can be opened.
    pub mounts: Vec<Mount>,
}

/// A directory of the host that a guest can access, with everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// The directory. Symbolic links that lead out of it aren't followed.
    pub host: PathBuf,
    /// The path of the directory inside the guest, such as `/data`.
    pub guest: String,
    /// Whether writing, creating and deleting fail.
    pub read_only: bool,
}

impl Mount {
    /// Creates a mount that the guest can read.
    pub fn read_only(host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        Self { host: host.into(), guest: guest.into(), read_only: true }
    }

    /// Creates a mount that the guest can read and write.
    pub fn read_write(host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        Self { host: host.into(), guest: guest.into(), read_only: false }
    }

    fn check(&self) -> Result<(), String> {
        if self.guest.is_empty() || self.guest.contains('\0') {
            return Err(self.wrong(format_args!("{:?} is not a valid path inside the guest", self.guest)));
        }
        match std::fs::metadata(&self.host) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(self.wrong("not a directory; only directories can be mounted")),
            Err(error) => Err(self.wrong(error)),
        }
    }

    /// The message of an error about this mount.
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> String {
        format!("cannot mount {} at {}: {what}", self.host.display(), self.guest.escape_default())
    }
}

impl WasiConfig {
    /// Whether the linked functions need a fiber, whichever of them the guest calls.
    pub(crate) fn needs_async(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// Checks that everything can be granted. The error says what can't, and why.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(arg) = self.args.iter().find(|arg| arg.contains('\0')) {
            return Err(format!("argument {arg:?} contains a NUL byte"));
        }
        let mut names = HashSet::new();
        for (name, value) in &self.env {
            let wrong = if name.is_empty() || name.contains(['=', '\0']) {
                "the name must not be empty or contain `=` or a NUL byte"
            } else if value.contains('\0') {
                "the value contains a NUL byte"
            } else if !names.insert(name) {
                "defined twice"
            } else {
                continue;
            };
            return Err(format!("environment variable {name:?}: {wrong}"));
        }
        let mut paths = HashSet::new();
        for mount in &self.mounts {
            mount.check()?;
            if !paths.insert(&mount.guest) {
                return Err(mount.wrong("another directory is already mounted there"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(args: &[&str], env: &[(&str, &str)], mounts: &[Mount]) -> String {
        let config = WasiConfig {
            args: args.iter().map(ToString::to_string).collect(),
            env: env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            mounts: mounts.to_vec(),
        };
        config.check().expect_err("the grant is refused")
    }

    #[test]
    fn invalid_arguments_and_environment_variables_are_refused_with_the_reason() {
        assert!(wrong(&["ok", "a\0b"], &[], &[]).starts_with("argument \"a\\0b\" contains a NUL"));
        assert!(wrong(&[], &[("A=B", "c")], &[]).starts_with("environment variable \"A=B\": the name"));
        assert!(wrong(&[], &[("", "c")], &[]).contains("not be empty"));
        assert!(wrong(&[], &[("A", "\0")], &[]).contains("the value contains a NUL"));
        assert!(wrong(&[], &[("A", "1"), ("A", "2")], &[]).contains("defined twice"));
    }

    #[test]
    fn an_invalid_mount_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let missing = dir.path().join("missing");
        let reason = wrong(&[], &[], &[Mount::read_only(&missing, "/data")]);
        assert!(reason.starts_with(&format!("cannot mount {} at /data: ", missing.display())), "{reason}");
        assert!(wrong(&[], &[], &[Mount::read_only(&file, "/data")]).contains("not a directory"));
        assert!(wrong(&[], &[], &[Mount::read_only(dir.path(), "")]).contains("not a valid path"));
        let twice = [Mount::read_only(dir.path(), "/a"), Mount::read_write(dir.path(), "/a")];
        assert!(wrong(&[], &[], &twice).contains("already mounted there"));
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let config = WasiConfig::default();
        assert!(config.args.is_empty() && config.env.is_empty() && config.mounts.is_empty());
        assert!(!config.needs_async() && config.check().is_ok());
    }
}
