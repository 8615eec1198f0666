//! `http-wasm run`: runs one exchange in process, and shows what the guest does.

mod args;
mod json;

use std::io;

use http_wasm_gateway::StartError;

use self::args::Run;
use crate::exchange::{Entry, ExchangeResult, Paint, Runner};
use crate::exchange::{print_failure, print_request, print_response, print_trace};
use crate::failure::Failure;
use crate::guest;
use crate::output::print;

pub(crate) use self::args::RunArgs;

/// Passes the request through the guest, and prints the result.
pub(crate) fn run(args: RunArgs) -> Result<(), Failure> {
    let run = Run::resolve(args)?;
    let recorder = Runner::recorder(run.log_level)?;
    let runner = match Runner::load(&run.guest, recorder.clone()) {
        Ok(runner) => runner,
        Err(failure) => {
            // What the guest did during start-up may show why.
            if run.trace {
                print(&trace(&recorder.take(), run.json))?;
            }
            return Err(failure);
        }
    };
    guest::print_warnings(runner.guest());
    let result = runner.run(&run.request, run.client, &run.next);
    print(&match run.json {
        true => json::lines(&result, run.trace),
        false => text(&result, run.trace),
    })?;
    match &result.error {
        Some(error) => {
            Err(StartError::Guests(vec![format!("the guest fails on this request: {error}")]).into())
        }
        None => Ok(()),
    }
}

fn trace(entries: &[Entry], as_json: bool) -> String {
    if as_json {
        return json::entries(entries);
    }
    let mut out = String::new();
    print_trace(&mut out, entries, Paint::of(&io::stdout()));
    out
}

fn text(result: &ExchangeResult, with_trace: bool) -> String {
    let paint = Paint::of(&io::stdout());
    let mut out = String::new();
    let title = |out: &mut String, text: &str| {
        let (style, reset) = (paint.dim.render(), paint.dim.render_reset());
        *out += &format!("{style}-- {text}{reset}\n");
    };
    if with_trace {
        title(&mut out, "what the guest did");
        print_trace(&mut out, &result.entries, paint);
        out.push('\n');
        if let Some(error) = &result.error {
            title(&mut out, "why the guest failed");
            print_failure(&mut out, error, paint);
            out.push('\n');
        }
    }
    match &result.request {
        Some(request) => {
            title(&mut out, "the request as the next handler receives it");
            print_request(&mut out, request, paint);
        }
        None => title(&mut out, "the next handler wasn't called"),
    }
    out.push('\n');
    match &result.response {
        Some(response) => {
            title(&mut out, "the response as the client receives it");
            print_response(&mut out, response, paint);
        }
        None => {
            let reason = result.next_error.as_deref().unwrap_or_default();
            title(&mut out, &format!("there is no response: {reason}"));
        }
    }
    out
}
