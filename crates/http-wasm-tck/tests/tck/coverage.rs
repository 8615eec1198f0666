//! What the cases cover.

use std::collections::BTreeSet;

use http_wasm_tck::case::{Case, Host, Phase};
use http_wasm_tck::cases;
use http_wasm_tck::guest::Function;

#[test]
fn there_are_at_least_250_cases_with_ids_of_their_own() {
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
fn cases_that_need_the_same_host_stand_together() {
    let cases = cases::all();
    let mut seen: Vec<&Host> = Vec::new();
    for case in &cases {
        if seen.last() != Some(&case.host()) {
            assert!(!seen.contains(&case.host()), "{}", case.id());
            seen.push(case.host());
        }
    }
}
