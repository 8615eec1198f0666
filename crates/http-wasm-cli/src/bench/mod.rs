//! `http-wasm bench`: measures what a guest costs, in process.

mod args;
mod instances;
mod measure;
mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http_wasm_tower::{CallResult, Engine, PoolSettings, TraceEvent};

use self::args::Bench;
use self::instances::{NO_IDLE, SHORT_IDLE};
use self::measure::Workload;
use self::report::{Report, Times};
use crate::failure::Failure;
use crate::guest;
use crate::output::print;

pub(crate) use self::args::BenchArgs;

/// Measures the guest and prints the results.
pub(crate) fn run(args: BenchArgs) -> Result<(), Failure> {
    let bench = &Bench::resolve(args)?;
    let engine = http_wasm_tower::Engine::new()?;
    let guest = guest::load(&engine, &bench.guest)?;
    let workload = Workload::new(guest.clone(), bench.request.clone());
    let with_pool = |pool: PoolSettings| {
        let guest = guest::builder(&engine, &bench.guest).pool(pool).load_file(&bench.guest.path)?;
        Ok::<_, Failure>(Workload::new(guest, bench.request.clone()))
    };
    // Each of the five measurements gets an equal share. An exchange is never cut off, so a slow guest takes longer.
    let share = bench.duration / 5;

    let host_calls = count_host_calls(&engine, bench)?;
    let burst = with_pool(PoolSettings::default())?.burst()?;
    let memory = with_pool(SHORT_IDLE)?.memory(share)?;
    let phases = workload.phases(share)?;
    let fresh = with_pool(NO_IDLE)?.fresh(&workload, share)?;
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let one_thread = workload.throughput(1, share)?;
    let all_threads = workload.throughput(threads, share)?;

    let report = Report {
        guest: guest.name().to_owned(),
        request: bench.request.to_string(),
        outcome: phases.outcome,
        compile_milliseconds: guest.facts().compile_time.as_secs_f64() * 1e3,
        handle_request: Times::of(phases.handle_request),
        handle_response: Some(phases.handle_response).filter(|times| !times.is_empty()).map(Times::of),
        host_calls,
        new_instance: Times::of(fresh),
        cold_burst: Times::of(burst.cold),
        warm_burst: Times::of(burst.warm),
        memory_bytes_per_idle_instance: memory.idle,
        memory_bytes_left_per_instance: memory.left,
        requests_per_second_on_one_thread: one_thread,
        threads,
        requests_per_second_per_thread: all_threads / threads as f64,
    };
    let text = if bench.json {
        serde_json::to_string_pretty(&report)
            .map_err(|error| Failure::Other(format!("cannot write the report as JSON: {error}")))?
    } else {
        report.to_string()
    };
    print(&format!("{text}\n"))
}

/// The host functions that the guest calls for one request, and how often. Its instance has served another request
/// before, since the first one may initialise the guest.
fn count_host_calls(engine: &Engine, bench: &Bench) -> Result<BTreeMap<&'static str, u64>, Failure> {
    let counts = Arc::new(Mutex::new(BTreeMap::new()));
    let counter = counts.clone();
    let guest = guest::builder(engine, &bench.guest)
        .trace(move |_: u64, event: &TraceEvent<'_>| {
            if let TraceEvent::HostCall(call) = event
                && call.result != CallResult::Waits
            {
                let mut counts = counter.lock().unwrap_or_else(PoisonError::into_inner);
                *counts.entry(call.function.name).or_default() += 1;
            }
        })
        .load_file(&bench.guest.path)?;
    let workload = Workload::new(guest, bench.request.clone());
    workload.once()?;
    counts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    workload.once()?;
    Ok(std::mem::take(&mut counts.lock().unwrap_or_else(PoisonError::into_inner)))
}
