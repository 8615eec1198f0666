//! `http-wasm profile`: where a guest spends its time.

mod args;
mod stacks;
mod svg;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::Request;
use http_wasm_tower::{Body, Chain, Engine, Error, TraceEvent, Tracer};

use self::args::Profile;
use self::stacks::Stacks;
use self::svg::flame_graph;
use crate::exchange::{CLIENT, Next};
use crate::failure::{Failure, plain};
use crate::guest;
use crate::output::print;

pub(crate) use self::args::ProfileArgs;

/// How samples are taken, and the bias that follows.
const BIAS: &str = "Sampled every 2 ms, at the next loop head or function entry: time spent between these, and in host \
                    calls, is attributed to the function that reaches one next.";

/// Number of functions in the table.
const SHOWN: usize = 15;

/// Collects stacks.
#[derive(Clone, Default)]
struct Samples(Arc<Mutex<Stacks>>);

impl Tracer for Samples {
    fn event(&self, _: u64, event: &TraceEvent<'_>) {
        if let TraceEvent::Ticked { stack } = event {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).add(stack);
        }
    }

    fn wants_ticks(&self) -> bool {
        true
    }
}

/// Repeats the request, and writes where the guest spent its time.
pub(crate) fn run(args: ProfileArgs) -> Result<(), Failure> {
    let Profile { guest: spec, request, next, duration, output } = Profile::resolve(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::Other(format!("cannot start the runtime: {}", plain(&error))))?;
    // Only calls that run on fibers are sampled at every tick.
    let engine = Engine::builder().yields_always(true).build()?;
    let samples = Samples::default();
    let loaded = guest::builder(&engine, &spec).trace(samples.clone()).load_file(&spec.path)?;
    let name = loaded.name().to_owned();
    let chain = Chain::new([loaded]);
    // Samples taken during loading are of the start-up, which is not what is profiled.
    *samples.0.lock().unwrap_or_else(PoisonError::into_inner) = Stacks::default();

    let (began, mut exchanges, mut failed) = (Instant::now(), 0u64, None);
    while began.elapsed() < duration {
        let result = runtime.block_on(chain.call_observed(request.build(), Some(CLIENT), (), |request| {
            let next = next.clone();
            async move { respond(&next, request).await }
        }));
        exchanges += 1;
        if let Ok(mut response) = result {
            failed = failed.or(response.extensions_mut().remove::<Arc<Error>>());
        }
    }
    let took = began.elapsed();
    let stacks = std::mem::take(&mut *samples.0.lock().unwrap_or_else(PoisonError::into_inner));
    write(&output.join(format!("{name}.folded")), &stacks.folded())?;
    let title = format!("{name}: {} samples in {exchanges} exchanges", stacks.samples());
    write(&output.join(format!("{name}.svg")), &flame_graph(&stacks.tree(), &title, BIAS))?;

    let mut text = format!("{title}, {:.1} s\n", took.as_secs_f64());
    if let Some(error) = failed {
        text += &format!("the guest fails on this request: {error}\n");
    }
    text += &table(&stacks);
    text += &format!("\n{BIAS}\n");
    let (folded, svg) = (output.join(format!("{name}.folded")), output.join(format!("{name}.svg")));
    text += &format!("\nwrote {} and {}\n", folded.display(), svg.display());
    print(&text)?;
    Ok(())
}

async fn respond(
    next: &Next,
    request: Request<Body>,
) -> Result<http::Response<Body>, http_wasm_tower::BoxError> {
    next.answer(request).await
}

fn table(stacks: &Stacks) -> String {
    let all = stacks.samples().max(1) as f64;
    let shares = stacks.shares();
    if shares.is_empty() {
        return "no samples: the guest uses hardly any CPU time; try a longer --duration\n".to_owned();
    }
    let mut text = format!("\n{:>7} {:>7}  function\n", "own", "total");
    for share in shares.iter().take(SHOWN) {
        let percent = |samples: u64| samples as f64 * 100.0 / all;
        text +=
            &format!("{:>5.1} % {:>5.1} %  {}\n", percent(share.own), percent(share.total), share.function);
    }
    text
}

fn write(path: &Path, content: &str) -> Result<(), Failure> {
    let refused =
        |error: io::Error| Failure::Other(format!("cannot write {}: {}", path.display(), plain(&error)));
    std::fs::write(path, content).map_err(refused)
}
