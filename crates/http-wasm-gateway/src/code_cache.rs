//! The default directory for compiled guests.

use std::ffi::OsString;
use std::path::PathBuf;

/// The default directory for a process with these environment variables.
///
/// # Errors
/// The reason why there is none.
pub(crate) fn default_directory(
    variable: impl Fn(&str) -> Option<OsString>,
    is_root: bool,
) -> Result<PathBuf, &'static str> {
    // systemd creates these for the service, and separates them with colons.
    if let Some(directories) = variable("CACHE_DIRECTORY")
        && let Some(first) = std::env::split_paths(&directories).find(|path| path.is_absolute())
    {
        // For a dynamic user, this is a symbolic link that systemd has created.
        return Ok(first.canonicalize().unwrap_or(first));
    }
    if is_root {
        return Err("the gateway runs as root");
    }
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    caches.map(|caches| caches.join("http-wasm")).ok_or("neither XDG_CACHE_HOME nor HOME is set")
}

/// Whether this process is root.
#[cfg(unix)]
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process is root.
#[cfg(not(unix))]
pub(crate) fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_directory_comes_from_systemd_or_the_users_cache_with_none_for_root() {
        let directory = |variables: &[(&str, &str)], is_root| {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            };
            default_directory(variable, is_root).map(|path| path.display().to_string())
        };
        let (systemd, xdg, home) =
            (("CACHE_DIRECTORY", "/var/cache/a:/var/cache/b"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h"));
        assert_eq!(directory(&[systemd, xdg, home], true).unwrap(), "/var/cache/a");
        assert_eq!(directory(&[xdg, home], false).unwrap(), "/x/http-wasm");
        assert_eq!(directory(&[home], false).unwrap(), "/h/.cache/http-wasm");
        assert_eq!(directory(&[("XDG_CACHE_HOME", "relative"), home], false).unwrap(), "/h/.cache/http-wasm");
        assert_eq!(directory(&[("XDG_CACHE_HOME", ""), home], false).unwrap(), "/h/.cache/http-wasm");
        assert!(directory(&[], false).unwrap_err().contains("HOME"));
        assert!(directory(&[xdg, home], true).unwrap_err().contains("root"));
    }
}
