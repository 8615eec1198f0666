//! `--env` and `--mount`: what guests can access on the machine.

use std::str::FromStr;

use http_wasm_gateway::config::MountPoint;
use http_wasm_gateway::plain;
use http_wasm_tower::Mount;

use super::error::ArgsError;

/// What guests can access on the machine.
#[derive(Debug, clap::Args)]
pub(crate) struct GrantArgs {
    /// Environment variable for guests; repeatable [default: none]
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<EnvVar>,

    /// Directory that guests can access, under the path GUEST (by default the same as HOST), read-only with :ro;
    /// repeatable [default: none]
    #[arg(long = "mount", value_name = "HOST[:GUEST][:ro]", value_parser = parse_mount)]
    pub(crate) mounts: Vec<Mount>,
}

impl GrantArgs {
    /// Checks that each directory exists, so that an error is reported now rather than at the first request.
    ///
    /// # Errors
    /// If one of them isn't a directory or can't be read.
    pub(crate) fn resolve(&self) -> Result<Grants, ArgsError> {
        let grants = Grants { env: self.env.clone(), mounts: self.mounts.clone() };
        grants.check()?;
        Ok(grants)
    }
}

/// What guests can access on the machine; nothing unless granted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grants {
    pub(crate) env: Vec<EnvVar>,
    pub(crate) mounts: Vec<Mount>,
}

impl Grants {
    fn check(&self) -> Result<(), ArgsError> {
        for mount in &self.mounts {
            let reason = match std::fs::metadata(&mount.host) {
                Ok(found) if found.is_dir() => continue,
                Ok(_) => "not a directory".to_owned(),
                Err(error) => plain(&error),
            };
            return Err(ArgsError::MountDirectory { path: mount.host.clone(), reason });
        }
        Ok(())
    }
}

/// One environment variable, `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvVar {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for EnvVar {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err("expected KEY=VALUE"),
        }
    }
}

/// Parses `HOST[:GUEST][:ro]`, as in the configuration.
pub(crate) fn parse_mount(text: &str) -> Result<Mount, &'static str> {
    text.parse::<MountPoint>().map(|mount| mount.0)
}

#[cfg(test)]
mod tests {
    use super::{EnvVar, Mount, parse_mount};

    fn mount(host: &str, guest: &str, read_only: bool) -> Mount {
        Mount { host: host.into(), guest: guest.to_owned(), read_only }
    }

    #[test]
    fn a_mount_names_host_guest_and_access() {
        assert_eq!(parse_mount("/a"), Ok(mount("/a", "/a", false)));
        assert_eq!(parse_mount("/a:/b"), Ok(mount("/a", "/b", false)));
        assert_eq!(parse_mount("/a:ro"), Ok(mount("/a", "/a", true)));
        assert_eq!(parse_mount("/a:/b:ro"), Ok(mount("/a", "/b", true)));
        assert_eq!(parse_mount("/a:ro:ro"), Ok(mount("/a", "ro", true)));
        assert_eq!(parse_mount("ro"), Ok(mount("ro", "ro", false)));
    }

    #[test]
    fn a_mount_with_an_empty_or_a_third_part_is_refused() {
        for text in ["", ":", ":ro", "/a:", ":/b", "/a::ro", "/a:/b:rw", "/a:/b:/c:ro"] {
            assert!(parse_mount(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_environment_variable_has_a_key_and_any_value() {
        let var = |key: &str, value: &str| EnvVar { key: key.to_owned(), value: value.to_owned() };
        assert_eq!("A=1".parse(), Ok(var("A", "1")));
        assert_eq!("A=".parse(), Ok(var("A", "")));
        assert_eq!("A=b=c".parse(), Ok(var("A", "b=c")));
        assert!("A".parse::<EnvVar>().is_err());
        assert!("=1".parse::<EnvVar>().is_err());
    }
}
