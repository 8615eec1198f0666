//! A directory with a configuration and the files that it refers to.

use std::fs;
use std::path::PathBuf;

use http_wasm_gateway::config::{Config, ConfigFile, Faults};
use tempfile::TempDir;

/// A guest that lets every request proceed.
pub(crate) const PASSES: &str = r#"(module (memory (export "memory") 1)
  (func (export "handle_request") (result i64) i64.const 1)
  (func (export "handle_response") (param i32 i32)))"#;

/// A directory with `gateway.toml`, which is deleted on drop.
pub(crate) struct Files(TempDir);

impl Files {
    /// A directory with a guest in `guest.wat`, and a certificate and key in `cert.pem` and `key.pem`.
    pub(crate) fn new() -> Self {
        let files = Self(tempfile::tempdir().expect("a temporary directory"));
        files.write("guest.wat", PASSES);
        files.write("cert.pem", include_str!("../fixtures/localhost.pem"));
        files.write("key.pem", include_str!("../fixtures/localhost.key.pem"));
        files
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("a file of ours can be written");
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn load(&self, text: &str) -> Result<Config, Faults> {
        Config::load(&self.write("gateway.toml", text))
    }

    /// The current `gateway.toml`.
    pub(crate) fn config_file(&self) -> ConfigFile {
        ConfigFile::load(&self.path("gateway.toml")).expect("it has been loaded before").1
    }

    /// The error message for this configuration, which must be invalid, without the name of the directory.
    pub(crate) fn fault(&self, text: &str) -> String {
        self.shown(&self.load(text).expect_err("this configuration is wrong"))
    }

    /// The text of a message, without the name of the directory.
    pub(crate) fn shown(&self, faults: &Faults) -> String {
        faults.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}
