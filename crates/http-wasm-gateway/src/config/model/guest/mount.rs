//! Directories that guests can access.

use std::borrow::Cow;
use std::str::FromStr;

use http_wasm_tower::Mount;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::config::read::{Context, Node, Value, parsed};

/// A directory for a guest, `HOST[:GUEST][:ro]`. By default, the guest sees it under its path on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint(pub Mount);

impl FromStr for MountPoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (paths, read_only) = match text.strip_suffix(":ro") {
            Some(paths) => (paths, true),
            None => (text, false),
        };
        let (host, guest) = paths.split_once(':').unwrap_or((paths, paths));
        if host.is_empty() || guest.is_empty() || guest.contains(':') {
            return Err("expected HOST, HOST:GUEST, HOST:ro or HOST:GUEST:ro");
        }
        Ok(Self(Mount { host: host.into(), guest: guest.to_owned(), read_only }))
    }
}

impl Value for MountPoint {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        let mut mount: Self = parsed(node, "mount", context)?;
        mount.0.host = context.path(&mount.0.host.to_string_lossy());
        Some(mount)
    }
}

impl Serialize for MountPoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Mount { host, guest, read_only } = &self.0;
        let access = if *read_only { ":ro" } else { "" };
        serializer.collect_str(&format_args!("{}:{guest}{access}", host.display()))
    }
}

impl JsonSchema for MountPoint {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Mount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["/etc/waf:/rules:ro"] })
    }
}
