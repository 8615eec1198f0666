//! Features and log.

use http_wasm_host::{HostCall, Intercepted, Trap};

use super::ready;
use crate::broken::Broken;
use crate::mutation::Mutation;

pub(super) fn broken(mutation: Mutation, call: &mut HostCall<'_>) -> Option<Intercepted> {
    Some(match (mutation, call.function, call.args) {
        (Mutation::FeaturesEchoed, "enable_features", &[features]) => {
            call.proceed().and_then(|_| ready(features))
        }
        (Mutation::FeaturesIgnored, "enable_features", _) => ready(7u32),
        (Mutation::FeaturesLate, _, _) => {
            // A feature that was enabled too late allows the response to be changed.
            let late = call.host::<Broken>().is_some_and(|host| host.seen.late_features);
            match call.proceed() {
                Err(_) if late => ready(0u32),
                answer => answer,
            }
        }
        (Mutation::LogLevelTraps, "log", &[level, ..]) if !(-1..=2).contains(&level.cast_signed()) => {
            Err(Trap::unfounded())
        }
        (Mutation::LogEnabledIsTwo, "log_enabled", _) => ready(2u32),
        _ => return None,
    })
}
