//! Tests of the kit itself: a host with one broken rule must fail the cases for that rule, and no others.

mod broken;
mod host;
mod imports;
mod mutation;
mod streams;
mod table;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use http_wasm_tck::backend::Backend;
use http_wasm_tck::case::{Case, Host, Section};
use http_wasm_tck::cases;
use http_wasm_tck::guest::{self, Variant};
use http_wasm_tck::run::{Options, Outcome, Verdict, run};

use self::host::Fault;
use self::mutation::Mutation;
use self::table::table;

/// How many hosts are tested at the same time.
const AT_ONCE: usize = 16;

/// The timeout for a case that may hang because of the fault.
const SHORT: Duration = Duration::from_secs(2);

/// The timeout for a case that must pass, even on a busy machine.
const LONG: Duration = Duration::from_secs(20);

/// The ID that stands for all cases if the kit couldn't start.
const PREFLIGHT: &str = "preflight";

#[tokio::test(flavor = "multi_thread")]
async fn the_unmutated_host_passes() {
    let failed = confirmed(Fault::None, &[], &core()).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_mutation_is_listed_once() {
    let listed: Vec<Mutation> = table()
        .filter_map(|(fault, _)| match fault {
            Fault::Rule(mutation) => Some(*mutation),
            Fault::None | Fault::Answer(_) | Fault::Stream(_) => None,
        })
        .collect();
    assert_eq!(listed, Mutation::ALL);
}

/// If the variable `MUTATIONS_ONLY` is set, only tests mutations whose names contain its value.
#[tokio::test(flavor = "multi_thread")]
async fn every_broken_host_fails_exactly_the_cases_for_its_rule() {
    let cases = core();
    let mut wrong = String::new();
    let only = std::env::var("MUTATIONS_ONLY").unwrap_or_default();
    let table: Vec<_> = table().filter(|(fault, _)| format!("{fault:?}").contains(&only)).collect();
    for chunk in table.chunks(AT_ONCE) {
        let running: Vec<_> = chunk
            .iter()
            .map(|&&(fault, expected)| {
                let cases = chosen(&cases, expected);
                let failed = tokio::spawn(async move { confirmed(fault, expected, &cases).await });
                (fault, expected, failed)
            })
            .collect();
        for (fault, expected, failed) in running {
            let failed = failed.await.expect("the run does not panic");
            wrong.push_str(&judge(fault, expected, &failed));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The cases for the rule, and one of each other family. If the variable `MUTATIONS_FULL` is set, all cases.
fn chosen(cases: &[Case], expected: &[&str]) -> Vec<Case> {
    let mut families = BTreeSet::new();
    let family = |case: &Case| case.id().rsplit_once('/').map(|(family, _)| family.to_owned());
    let full = std::env::var_os("MUTATIONS_FULL").is_some();
    let is_chosen = |case: &&Case| {
        let first = families.insert(family(case));
        full || first || expected.iter().any(|part| case.id().contains(part))
    };
    cases.iter().filter(is_chosen).cloned().collect()
}

/// Compares the failures with the expected ones. Returns a description of the differences.
fn judge(fault: Fault, expected: &[&str], failed: &[Outcome]) -> String {
    if failed.is_empty() {
        return format!("{fault:?} survives\n");
    }
    let is_expected = |outcome: &&Outcome| expected.iter().any(|part| outcome.id.contains(part));
    let stray = failed.iter().filter(|outcome| !is_expected(outcome));
    let mut wrong: String = stray.map(|o| format!("{fault:?} fails {}: {:?}\n", o.id, o.verdict)).collect();
    for part in expected.iter().filter(|part| !failed.iter().any(|outcome| outcome.id.contains(**part))) {
        wrong.push_str(&format!("{fault:?} passes all of {part}\n"));
    }
    wrong
}

/// The failed cases. A failure that the fault doesn't explain is repeated by itself with a longer timeout: many hosts
/// are tested at once, and on a busy machine a case may merely have timed out.
async fn confirmed(fault: Fault, expected: &[&str], cases: &[Case]) -> Vec<Outcome> {
    let is_expected = |outcome: &Outcome| expected.iter().any(|part| outcome.id.contains(part));
    let (mut failed, strays): (Vec<_>, Vec<_>) =
        failures(fault, cases, SHORT).await.into_iter().partition(is_expected);
    if !strays.is_empty() {
        let began = strays.iter().all(|stray| stray.id != PREFLIGHT);
        let is_stray = |case: &&Case| !began || strays.iter().any(|stray| stray.id == case.id());
        let again: Vec<_> = cases.iter().filter(is_stray).cloned().collect();
        failed.extend(failures(fault, &again, LONG).await);
    }
    failed
}

/// The failed cases.
async fn failures(fault: Fault, cases: &[Case], timeout: Duration) -> Vec<Outcome> {
    let backend = backend().await;
    let variant = if matches!(fault, Fault::Stream(_)) { Variant::Stream } else { Variant::Conformance };
    let wasm = guest::wasm(variant).expect("the guest is well-formed");
    let address = Some(host::start(fault, wasm, backend).await.to_string());
    let options = Options { timeout, ..Options::default() };
    let options = match fault {
        Fault::Stream(streaming) if streaming.decodes => Options { decoded_address: address, ..options },
        Fault::Stream(_) => Options { stream_address: address, ..options },
        Fault::None | Fault::Rule(_) | Fault::Answer(_) => Options { address, ..options },
    };
    let outcomes = match run(cases, &options, |_| ()).await {
        Ok(outcomes) => outcomes,
        // The host is so broken that the kit doesn't start.
        Err(error) => vec![Outcome {
            id: PREFLIGHT.to_owned(),
            group: "core".to_owned(),
            section: Section::Guest,
            says: String::new(),
            differs: None,
            verdict: Verdict::Failed(error.to_string()),
            time: Duration::ZERO,
        }],
    };
    outcomes.into_iter().filter(|outcome| matches!(outcome.verdict, Verdict::Failed(_))).collect()
}

fn core() -> Vec<Case> {
    cases::all().into_iter().filter(|case| *case.host() == Host::Any).collect()
}

async fn backend() -> SocketAddr {
    let backend = Backend::bind("127.0.0.1:0").await.expect("a free port");
    let address = backend.local_addr().expect("a bound listener has an address");
    tokio::spawn(backend.serve());
    address
}
