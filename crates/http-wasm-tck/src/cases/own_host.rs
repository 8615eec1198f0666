//! Cases that need a host of their own: start-up, configuration, features, log, WASI, deadline.

use crate::case::{Case, Check, Exchange, Phase, Plan, Section};
use crate::guest::{BOOT_CONFIG, BOOT_MESSAGE, BOOT_RECORD, FREE, Function, MEMORY_END, Start, Variant};
use crate::payload::pattern;
use crate::script::{Arg, Content, RESPONSE, Script, script};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    start(&mut cases);
    refused(&mut cases);
    config(&mut cases);
    features(&mut cases);
    log(&mut cases);
    wasi(&mut cases);
    memory(&mut cases);
    deadline(&mut cases);
    cases
}

fn start(cases: &mut Vec<Case>) {
    for (start, bit, what) in [
        (Start::Section, 1_u8, "a module's start function"),
        (Start::Initialize, 2, "an exported _initialize"),
        (Start::Return, 4, "an exported _start"),
        (Start::Exit, 4, "a _start that ends with proc_exit(0)"),
    ] {
        let variant = Variant::Start(start);
        let config = "the configuration";
        let mut add = |name: &str, says: String, exchange: Exchange| {
            let case = Case::new(format!("start/{variant}/{name}"), Section::Guest, says, exchange);
            let case = case.with_guest(variant, config);
            cases.push(match start {
                Start::Initialize => case.differs(super::differences::ONLY_START),
                _ => case,
            });
        };
        let record = |at: u32, value: &[u8]| script().holds(BOOT_RECORD + at, value);
        add(
            "runs",
            format!("{what} runs before the first request"),
            Exchange::get("/").before(record(0, &[bit, 0, 0, 0])),
        );
        let count = FREE + 16;
        add(
            "serves-on",
            format!("after {what} the instance serves in both phases"),
            Exchange::get("/").before(script().store(count, 7)).after(script().holds(count, [7, 0, 0, 0])),
        );
        add(
            "features",
            format!("enable_features works in {what}"),
            Exchange::get("/").before(script().load(BOOT_RECORD + 4).gives_one_of(&[3, 7])),
        );
        add(
            "config",
            format!("get_config works in {what}"),
            Exchange::get("/")
                .before(record(8, &(config.len() as u32).to_le_bytes()).holds(BOOT_CONFIG, config)),
        );
        add(
            "log-enabled",
            format!("log_enabled works in {what}"),
            Exchange::get("/").before(script().load(BOOT_RECORD + 12).gives_one_of(&[0, 1])),
        );
        add("log", format!("log works in {what}"), Exchange::get("/").check(Check::Logged(BOOT_MESSAGE)));
    }
}

fn refused(cases: &mut Vec<Case>) {
    let mut add = |id: &str, says: String, variant| {
        cases.push(Case::of(id, Section::Guest, says, Plan::Refused).with_guest(variant, ""));
    };
    add(
        "start/refused/no-handle-response",
        "a guest without handle_response is rejected, with an error that says so".to_owned(),
        Variant::NoHandleResponse,
    );
    for &function in Function::ALL.iter().filter(|function| !function.works_at_start()) {
        add(
            &format!("start/refused/{}", function.slug()),
            format!("{} traps while an instance starts, since there is no request yet", function.name()),
            Variant::Early(function),
        );
    }
}

fn config(cases: &mut Vec<Case>) {
    for len in [0_usize, 1, 2049, 1_000_000] {
        // Bytes that aren't valid text, since a configuration may be any bytes.
        let config = pattern(len);
        let size = len as u32;
        let call = |script: Script, limit: u32| {
            script.call(Function::GetConfig, [FREE.into(), limit.into()]).gives(len as u64)
        };
        let filled = || script().fill(FREE, 0xaa, 64);
        let tail = config[len.saturating_sub(64)..].to_vec();
        let start = FREE + size - tail.len() as u32;
        let whole = call(filled(), size).holds(FREE, &config[..len.min(64)]).holds(start, &tail);
        let mut add = |name: &str, says: &str, exchange: Exchange| {
            let says = format!("a {len}-byte configuration: {says}");
            let case = Case::new(format!("config/{len}/{name}"), Section::Fields, says, exchange);
            cases.push(case.with_guest(Variant::Conformance, config.clone()));
        };
        add(
            "length",
            "buf_limit 0 returns its length",
            Exchange::get("/").before(call(filled(), 0).holds(FREE, [0xaa; 64])),
        );
        add("exact", "it is read with a buffer of its length", Exchange::get("/").before(whole.clone()));
        add("roomy", "it is read with more room, and nothing is written after it", {
            Exchange::get("/").before(
                call(script().fill(FREE + size, 0xaa, 8), size + 8)
                    .holds(start, &tail)
                    .holds(FREE + size, [0xaa; 8]),
            )
        });
        add("after", "it is read in handle_response", Exchange::get("/").after(whole));
        if len > 0 {
            add("too-small", "nothing is written into a buffer one byte too small", {
                Exchange::get("/").before(call(filled(), size - 1).holds(FREE, [0xaa; 1]))
            });
            let end = MEMORY_END - size;
            let at_end = script().call(Function::GetConfig, [end.into(), size.into()]).gives(len as u64);
            add(
                "at-end",
                "it is read up to the end of memory",
                Exchange::get("/").before(at_end.holds(MEMORY_END - 1, &config[len - 1..])),
            );
            let across = script().call(Function::GetConfig, [(end + 1).into(), size.into()]);
            add(
                "across-end",
                "reading it past the end of memory traps",
                Exchange::get("/").before(across).check(Check::Traps(Phase::Request)),
            );
        }
    }
}

fn features(cases: &mut Vec<Case>) {
    for bits in 0..8_u32 {
        let variant = Variant::Features(bits);
        let mut add = |name: &str, says: String, exchange: Exchange| {
            let case = Case::new(format!("features/{bits}/{name}"), Section::Constants, says, exchange);
            let case = case.with_guest(variant, "");
            cases.push(match name {
                "answer" => case.harmlessly_differs(super::differences::ECHOES, [Check::Status(200)]),
                "request" | "added" if bits & 1 != 0 || name == "added" => {
                    case.differs(super::differences::LAST_CHUNK)
                }
                "request" => case.differs(super::differences::OLD_LENGTH),
                _ => case,
            });
        };
        let enabled = format!("with features {bits} enabled at start-up");
        add(
            "answer",
            format!("{enabled} the result was everything that the host supports"),
            Exchange::get("/").before(script().load(BOOT_RECORD + 4).gives_one_of(&[3, 7])),
        );
        let read = script().call(Function::ReadBody, [0.into(), FREE.into(), 4.into()]);
        let post = |script: Script| Exchange::post("request body", crate::Framing::Length).before(script);
        let (whole, rest) = ("request body", "est body");
        add(
            "request",
            format!(
                "{enabled} a request body that was read in part is forwarded {}",
                if bits & 1 == 0 { "without that part" } else { "whole" }
            ),
            post(read.clone()).check(Check::BackendBody(if bits & 1 == 0 { rest } else { whole }.into())),
        );
        let write = script().write(RESPONSE, "written");
        let late = Exchange::get("/").after(write.clone());
        add(
            "response",
            format!(
                "{enabled} writing the response in handle_response {}",
                if bits & 2 == 0 { "traps" } else { "works" }
            ),
            match bits & 2 {
                0 => late.check(Check::Traps(Phase::Response)),
                _ => late.check(Check::Body("written".into())),
            },
        );
        add(
            "added",
            format!("{enabled} a request may add both"),
            post(read.clone())
                .features(3)
                .after(write.clone())
                .check(Check::BackendBody(whole.into()))
                .check(Check::Body("written".into())),
        );
        if bits & 2 == 0 {
            add(
                "not-kept",
                format!("{enabled} what one request added isn't enabled for the next"),
                Exchange::get("/").after(write).check(Check::Traps(Phase::Response)),
            );
        }
    }
}

fn log(cases: &mut Vec<Case>) {
    let mut add = |name: &str, says: &str, exchange: Exchange| {
        let case = Case::new(format!("log/{name}"), Section::Constants, says, exchange);
        cases.push(case.with_guest(Variant::Conformance, "log"));
    };
    let log = |level: i32, text: &str| script().call(Function::Log, [(level as u32).into(), text.into()]);
    for (level, name, text) in [
        (0, "info", "tck: an info line"),
        (1, "warn", "tck: a warning line"),
        (2, "error", "tck: an error line"),
    ] {
        add(
            &format!("{name}/before"),
            "what handle_request logs is in the log, when log_enabled says so",
            Exchange::get("/").before(log(level, text).then(enabled(level))).check(Check::Logged(text)),
        );
    }
    add(
        "debug/before",
        "debug can be logged",
        Exchange::get("/").before(
            log(-1, "tck: a debug line").call(Function::LogEnabled, [u32::MAX.into()]).gives_one_of(&[0, 1]),
        ),
    );
    add(
        "none/before",
        "the level none is not enabled, and logging at it is allowed",
        Exchange::get("/")
            .before(log(3, "tck: a line at none").call(Function::LogEnabled, [3.into()]).gives(0)),
    );
    add(
        "after",
        "what handle_response logs is in the log",
        Exchange::get("/").after(log(2, "tck: a late line")).check(Check::Logged("tck: a late line")),
    );
    add("empty", "an empty message is allowed", Exchange::get("/").before(log(0, "")));
    add(
        "bytes",
        "a message that isn't UTF-8 is allowed",
        Exchange::get("/")
            .before(script().call(Function::Log, [2.into(), b"tck: bytes \xff\xfe \0 end".into()]))
            .check(Check::Logged("tck: bytes ")),
    );
    add(
        "long",
        "a message of 100,000 bytes is allowed",
        Exchange::get("/").before(
            script().fill(FREE, b'x', 100_000).call(Function::Log, [2.into(), FREE.into(), 100_000.into()]),
        ),
    );
}

/// Hosts choose their log level, but all of them log errors.
fn enabled(level: i32) -> Script {
    let call = script().call(Function::LogEnabled, [(level as u32).into()]);
    if level == 2 { call.gives(1) } else { call.gives_one_of(&[0, 1]) }
}

fn wasi(cases: &mut Vec<Case>) {
    const CLOCK: u8 = 96;
    const RANDOM: u8 = 97;
    const WRITE: u8 = 98;
    let mut add = |name: &str, says: &str, exchange: Exchange| {
        let case = Case::new(format!("wasi/{name}"), Section::Guest, says, exchange);
        cases.push(case.with_guest(Variant::Wasi, ""));
    };
    let clock = |id: u32| script().wasi(CLOCK, "clock_time_get", &[id.into(), 0.into(), FREE.into()]);
    let like = |script: Script, len: u32, is_like: fn(&[u8]) -> bool, what| {
        script.holds_content(FREE, Arg::N(len), Content::Like(is_like, what))
    };
    add(
        "clock/realtime",
        "clock_time_get returns the time of day",
        Exchange::get("/").before(like(
            clock(0),
            8,
            |time| time.try_into().is_ok_and(|time| u64::from_le_bytes(time) > 1_700_000_000_000_000_000),
            "a time after 2023",
        )),
    );
    add(
        "clock/monotonic",
        "clock_time_get returns a time that advances",
        Exchange::get("/").before(clock(1)),
    );
    add("clock/after", "clock_time_get works in handle_response", Exchange::get("/").after(clock(0)));
    let random = || script().fill(FREE, 0, 64).wasi(RANDOM, "random_get", &[FREE.into(), 64.into()]);
    add(
        "random",
        "random_get fills the buffer",
        Exchange::get("/").before(like(
            random(),
            64,
            |bytes| bytes.iter().filter(|&&byte| byte != 0).count() > 32,
            "random bytes",
        )),
    );
    add("random/after", "random_get works in handle_response", Exchange::get("/").after(random()));
    let print = |fd: u32, text: &'static str| {
        let bytes = text.as_bytes();
        script()
            .put(FREE + 64, bytes)
            .store(FREE, FREE + 64)
            .store(FREE + 4, bytes.len() as u32)
            .wasi(WRITE, "fd_write", &[fd.into(), FREE.into(), 1.into(), (FREE + 8).into()])
            .holds(FREE + 8, (bytes.len() as u32).to_le_bytes())
    };
    for (fd, name, text, line) in [
        (1, "stdout", "tck: printed to stdout\n", "tck: printed to stdout"),
        (2, "stderr", "tck: printed to stderr\n", "tck: printed to stderr"),
    ] {
        add(
            name,
            &format!("what a guest writes to {name} is in the log"),
            Exchange::get("/").before(print(fd, text)).check(Check::Logged(line)),
        );
    }
    add(
        "stdout/after",
        "what a guest writes to stdout in handle_response is in the log",
        Exchange::get("/").after(print(1, "tck: printed late\n")).check(Check::Logged("tck: printed late")),
    );
}

fn memory(cases: &mut Vec<Case>) {
    let exchange = Exchange::get("/memory")
        .before(
            script()
                .grow(1, 48)
                .call(Function::GetUri, [(MEMORY_END + 100).into(), 64.into()])
                .gives(7)
                .holds(MEMORY_END + 100, "/memory")
                .call(
                    Function::SetHeaderValue,
                    [0.into(), "x-grown".into(), (MEMORY_END + 100).into(), 7.into()],
                ),
        )
        .check(Check::BackendHeader("x-grown", vec![b"/memory".to_vec()]));
    let says = "after memory.grow the host writes into, and reads from, the new pages";
    let case = Case::new("memory/grows", Section::Fields, says, exchange);
    cases.push(case.with_guest(Variant::Conformance, "memory"));
}

/// These cases come last, since a host without a deadline is unusable after them.
fn deadline(cases: &mut Vec<Case>) {
    let end = || Check::StatusWithin(500, 599);
    for (name, exchange) in [
        ("before", Exchange::get("/").before(script().spin())),
        ("after", Exchange::get("/").after(script().spin())),
    ] {
        let clean = Exchange::get("/").before(script().is_clean());
        cases.push(
            Case::of(
                format!("deadline/{name}"),
                Section::Bodies,
                "a guest that computes forever is stopped, and the next request gets a clean instance",
                Plan::InTurn(vec![exchange.check(end()), clean]),
            )
            .with_guest(Variant::Conformance, "deadline")
            .differs(super::differences::ENDLESS),
        );
    }
}
