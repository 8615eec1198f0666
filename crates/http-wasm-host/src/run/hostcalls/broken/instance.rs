//! Features and log.

use wasmtime::{Caller, Linker};

use crate::abi::{Features, LogLevel, MODULE};
use crate::error::Reason;
use crate::host::Host;
use crate::mutation::Mutation;
use crate::run::hostcalls::{Answer, instance};
use crate::run::memory;
use crate::run::state::State;

pub(super) fn replace<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
    match mutation {
        Mutation::FeaturesEchoed => {
            replace!(linker, enable_features, |_memory, state, features: u32| -> u32 {
                instance::enable_features(state, features).map(|_| features)
            })
        }
        Mutation::FeaturesIgnored => {
            replace!(linker, enable_features, |_memory, _state, _features: u32| -> u32 {
                Ok(Features::SUPPORTED.bits())
            })
        }
        Mutation::FeaturesStick => {
            replace!(linker, enable_features, |_memory, state, features: u32| -> u32 {
                state.features = state.features | Features::from_bits(features);
                instance::enable_features(state, features)
            })
        }
        Mutation::FeaturesLate => replace!(linker, enable_features, |_memory, state, features: u32| -> u32 {
            if let Some(exchange) = &mut state.exchange {
                exchange.force_features(Features::from_bits(features));
            }
            instance::enable_features(state, features)
        }),
        Mutation::LogLevelTraps => {
            replace!(linker, log, |memory, state, level: i32, message: u32, len: u32| -> () {
                match LogLevel::from_abi(level) {
                    None => Err(Reason::Internal("a mutation")),
                    Some(_) => instance::log(memory, state, level, message, len),
                }
            })
        }
        Mutation::LogEnabledIsTwo => {
            replace!(linker, log_enabled, |_memory, _state, _level: i32| -> u32 { Ok(2) })
        }
        _ => return Ok(()),
    };
    Ok(())
}
