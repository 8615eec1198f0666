//! Detects files that users other than their owner can change, and secrets that they can read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::model::{CodeCache, Config};

impl Config {
    /// Warnings about the permissions of the files that this configuration refers to, and of the configuration's `file`
    /// itself. Empty if there are none.
    pub fn permission_warnings(&self, file: Option<&Path>) -> Vec<String> {
        let mut warnings = Vec::new();
        let keys: BTreeSet<&Path> = self.keys().collect();
        let files: BTreeSet<&Path> = file.into_iter().chain(self.files().map(PathBuf::as_path)).collect();
        let mut directories = BTreeSet::new();
        for path in files {
            let what = if keys.contains(path) { "the private key" } else { "the file" };
            let Some(mode) = mode(path) else { continue };
            warnings.extend(writable(what, path, mode));
            if keys.contains(path) && mode & OTHERS_READ != 0 {
                let shown = path.display();
                warnings.push(format!("the private key {shown} is readable by everyone (mode {mode:04o})"));
            }
            // The directory of a symbolic link controls its target, and the directory of the target controls the
            // content.
            let target = path.canonicalize().ok();
            let both = [Some(path), target.as_deref()].into_iter().flatten();
            directories.extend(both.filter_map(Path::parent).map(Path::to_owned));
        }
        for directory in directories {
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
            // In a sticky directory such as /tmp, users can't replace the files of others.
            if let Some(mode) = mode(directory).filter(|mode| mode & STICKY == 0) {
                warnings.extend(writable("the directory", directory, mode));
            }
        }
        if let Some(cache) = self.server.code_cache.as_ref().and_then(CodeCache::directory)
            && let Some(mode) = mode(cache)
        {
            warnings.extend(writable("the code cache", cache, mode));
        }
        warnings
    }

    fn keys(&self) -> impl Iterator<Item = &Path> {
        let listeners = self.listen.iter().filter_map(|listen| listen.tls.as_ref());
        let own = listeners.flat_map(|tls| tls.certificates.iter()).map(|pair| pair.key.as_path());
        let upstreams = self.upstreams.values().filter_map(|upstream| upstream.tls.as_ref());
        let identities = upstreams.filter_map(|tls| tls.identity.as_ref());
        own.chain(identities.map(|pair| pair.key.as_path()))
    }
}

/// The mode of a file that everyone can read.
pub(super) fn readable_by_everyone(path: &Path) -> Option<u32> {
    mode(path).filter(|mode| mode & OTHERS_READ != 0)
}

const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITE: u32 = 0o020;
const STICKY: u32 = 0o1000;

fn writable(what: &str, path: &Path, mode: u32) -> Option<String> {
    let who = match mode {
        _ if mode & OTHERS_WRITE != 0 => "everyone",
        _ if mode & GROUP_WRITE != 0 => "its group",
        _ => return None,
    };
    let shown = path.display();
    Some(format!(
        "{what} {shown} is writable by {who} (mode {mode:04o}), which lets them control the gateway"
    ))
}

#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;

    Some(std::fs::metadata(path).ok()?.mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode(_: &Path) -> Option<u32> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use crate::config::Config;

    const KEY: &str = include_str!("../../tests/fixtures/localhost.key.pem");
    const CERTIFICATE: &str = include_str!("../../tests/fixtures/localhost.pem");

    fn chmod(path: &Path, mode: u32) {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn files_writable_by_others_and_world_readable_keys_are_reported() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("gateway");
        create_dir(&directory).unwrap();
        let at = |name: &str| directory.join(name);
        let text = "routes = []\n[[listen]]\naddress = '127.0.0.1:0'\n\
                    tls.certificates = [{ certificate = 'c.pem', key = 'k.pem' }]\n[server]\ncode_cache = 'cache'\n";
        write(at("gateway.toml"), text).unwrap();
        write(at("c.pem"), CERTIFICATE).unwrap();
        write(at("k.pem"), KEY).unwrap();
        create_dir(at("cache")).unwrap();
        let warnings = || {
            let file = at("gateway.toml");
            let config = Config::load(&file).unwrap_or_else(|faults| panic!("{faults}"));
            config.permission_warnings(Some(&file))
        };
        let modes = |file: u32, key: u32, cache: u32, own: u32| {
            chmod(&at("gateway.toml"), file);
            chmod(&at("c.pem"), 0o644);
            chmod(&at("k.pem"), key);
            chmod(&at("cache"), cache);
            chmod(&directory, own);
        };
        modes(0o644, 0o640, 0o755, 0o755);
        assert_eq!(warnings(), [""; 0]);
        modes(0o644, 0o600, 0o755, 0o1777);
        assert_eq!(warnings(), [""; 0], "a sticky directory");

        for (modes_of, expected) in [
            ([0o664, 0o600, 0o755, 0o755], "gateway.toml is writable by its group (mode 0664)"),
            ([0o602, 0o600, 0o755, 0o755], "gateway.toml is writable by everyone (mode 0602)"),
            ([0o600, 0o644, 0o755, 0o755], "k.pem is readable by everyone (mode 0644)"),
            ([0o600, 0o620, 0o755, 0o755], "the private key "),
            ([0o600, 0o600, 0o775, 0o755], "the code cache "),
            ([0o600, 0o600, 0o755, 0o775], "gateway is writable by its group (mode 0775)"),
        ] {
            let [file, key, cache, own] = modes_of;
            modes(file, key, cache, own);
            let warnings = warnings();
            assert!(warnings.len() == 1 && warnings[0].contains(expected), "{expected}: {warnings:?}");
        }

        // Kubernetes mounts files with symbolic links.
        modes(0o600, 0o600, 0o755, 0o755);
        let far = root.path().join("far");
        create_dir(&far).unwrap();
        std::fs::rename(at("k.pem"), far.join("k.pem")).unwrap();
        symlink(far.join("k.pem"), at("k.pem")).unwrap();
        chmod(&far, 0o777);
        let warnings = warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("far is writable by everyone"), "{warnings:?}");
    }
}
