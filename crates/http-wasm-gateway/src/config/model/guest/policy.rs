//! How a guest's instances are kept and started, and what its failure means.

use std::borrow::Cow;
use std::num::NonZeroU32;

use http_wasm_tower::{PoolSettings, choices};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use toml::de::DeValue;

use crate::config::read::{Context, Located, Node, Time, Value, choice, section};

/// How many instances of a guest are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Pool {
    /// Idle instances that are created in advance and always kept. Defaults to 1.
    pub min_warm: Option<Located<u32>>,
    /// Maximum number of idle instances. If not set, unlimited until they reach `idle_ttl`.
    pub max_idle: Option<Located<NonZeroU32>>,
    /// How long an idle instance beyond `min_warm` is kept. Defaults to one minute.
    pub idle_ttl: Option<Time>,
}

impl From<&Pool> for PoolSettings {
    fn from(pool: &Pool) -> Self {
        let default = Self::default();
        Self {
            min_warm: pool.min_warm.as_ref().map_or(default.min_warm, |count| count.value as usize),
            max_idle: pool.max_idle.as_ref().map_or(default.max_idle, |count| Some(count.get() as usize)),
            idle_ttl: pool.idle_ttl.map_or(default.idle_ttl, |time| time.0),
        }
    }
}

section! { Pool { min_warm, max_idle, idle_ttl } }

/// What happens to a request if a guest fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The client gets an error.
    #[default]
    Closed,
    /// The request or response continues unchanged, as if the guest weren't there.
    Open,
}

impl From<OnFailure> for http_wasm_tower::OnFailure {
    fn from(on_failure: OnFailure) -> Self {
        match on_failure {
            OnFailure::Closed => Self::Closed,
            OnFailure::Open => Self::Open,
        }
    }
}

impl From<http_wasm_tower::OnFailure> for OnFailure {
    fn from(on_failure: http_wasm_tower::OnFailure) -> Self {
        match on_failure {
            http_wasm_tower::OnFailure::Closed => Self::Closed,
            http_wasm_tower::OnFailure::Open => Self::Open,
        }
    }
}

impl Value for OnFailure {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice::<http_wasm_tower::OnFailure>(node, context).map(Self::from)
    }
}

/// What the backtraces of a guest's failures contain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backtraces {
    /// Functions, and source lines if the module contains debug information (DWARF), which is kept in memory.
    #[default]
    Lines,
    /// Functions, and offsets in the guest's file.
    Functions,
    /// Nothing.
    Off,
}

choices! { Backtraces { Lines = "lines", Functions = "functions", Off = "off" } }

impl From<Backtraces> for http_wasm_tower::Backtraces {
    fn from(backtraces: Backtraces) -> Self {
        match backtraces {
            Backtraces::Lines => Self::Lines,
            Backtraces::Functions => Self::Functions,
            Backtraces::Off => Self::Off,
        }
    }
}

impl Value for Backtraces {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        choice(node, context)
    }
}

/// Whether new instances start from a snapshot of an initialised one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(into = "serde_json::Value")]
pub enum Snapshot {
    /// Each instance is initialised separately.
    #[default]
    Off,
    /// They do, if the guest drew no random numbers during initialisation.
    On,
    /// They do, and all instances share any random numbers that the guest drew during initialisation.
    SharedSeed,
}

impl From<Snapshot> for serde_json::Value {
    fn from(snapshot: Snapshot) -> Self {
        match snapshot {
            Snapshot::Off => false.into(),
            Snapshot::On => true.into(),
            Snapshot::SharedSeed => "shared-seed".into(),
        }
    }
}

impl From<Snapshot> for http_wasm_tower::Snapshot {
    fn from(snapshot: Snapshot) -> Self {
        match snapshot {
            Snapshot::Off => Self::Off,
            Snapshot::On => Self::On,
            Snapshot::SharedSeed => Self::SharedSeed,
        }
    }
}

impl From<http_wasm_tower::Snapshot> for Snapshot {
    fn from(snapshot: http_wasm_tower::Snapshot) -> Self {
        match snapshot {
            http_wasm_tower::Snapshot::On => Self::On,
            http_wasm_tower::Snapshot::SharedSeed => Self::SharedSeed,
            _ => Self::Off,
        }
    }
}

impl Value for Snapshot {
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self> {
        match node.get_ref() {
            DeValue::Boolean(false) => Some(Self::Off),
            DeValue::Boolean(true) => Some(Self::On),
            DeValue::String(text) if text == "shared-seed" => Some(Self::SharedSeed),
            _ => {
                context.expected("false, true or \"shared-seed\"", node);
                None
            }
        }
    }
}

impl JsonSchema for Snapshot {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Snapshot".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [false, true, "shared-seed"] })
    }
}
