//! What the cases cover.

use std::collections::{BTreeSet, HashSet};

use http_wasm_host::{FUNCTIONS, ValueType};
use http_wasm_tck::case::{Case, Host, Phase};
use http_wasm_tck::cases;
use http_wasm_tck::guest::{Answer, Function};

// This doesn't compile if one of them has a function that the other lacks.
const _: () =
    assert!(Function::ALL.len() == FUNCTIONS.len(), "the kit and the core have different functions");

#[test]
fn there_are_at_least_250_cases_with_unique_ids() {
    let cases = cases::all();
    let ids: BTreeSet<&str> = cases.iter().map(Case::id).collect();
    assert_eq!(ids.len(), cases.len());
    assert!(cases.len() >= 250, "{}", cases.len());
    for case in &cases {
        assert!(case.id().contains('/') && !case.says().is_empty(), "{}", case.id());
    }
}

#[test]
fn most_cases_run_against_any_host() {
    let cases = cases::all();
    let any = cases.iter().filter(|case| *case.host() == Host::Any).count();
    assert!(any * 4 > cases.len() * 3, "{any} of {}", cases.len());
}

#[test]
fn every_function_is_called_in_every_phase() {
    let calls: BTreeSet<_> = cases::all().iter().flat_map(Case::calls).collect();
    for &function in Function::ALL {
        for phase in [Phase::Start, Phase::Request, Phase::Response] {
            assert!(calls.contains(&(function, phase)), "{} in {phase:?}", function.name());
        }
    }
}

#[test]
fn the_kit_and_our_core_know_the_same_functions() {
    let of_kit = Function::ALL.iter().map(|function| {
        let results: &[ValueType] = match function.answer() {
            Answer::None => &[],
            Answer::I32 => &[ValueType::I32],
            Answer::I64 => &[ValueType::I64],
        };
        (function.name(), vec![ValueType::I32; function.params().len()], results)
    });
    let of_core =
        FUNCTIONS.iter().map(|function| (function.name, function.params.to_vec(), function.results));
    let (of_kit, of_core): (HashSet<_>, HashSet<_>) = (of_kit.collect(), of_core.collect());
    assert_eq!(of_kit, of_core);
}

#[test]
fn cases_that_need_the_same_host_are_adjacent() {
    let cases = cases::all();
    let mut seen: Vec<&Host> = Vec::new();
    for case in &cases {
        if seen.last() != Some(&case.host()) {
            assert!(!seen.contains(&case.host()), "{}", case.id());
            seen.push(case.host());
        }
    }
}
