//! The conformance guest, generated from the template `guest/conformance.wat`.

mod capabilities;
mod functions;
mod variant;

use std::fmt::Write as _;

pub use self::capabilities::Capabilities;
pub use self::functions::{Answer, Function, Param};
pub use self::variant::{Start, UnknownVariant, Variant};

const TEMPLATE: &str = include_str!("../../guest/conformance.wat");

/// The end of the guest's memory.
pub const MEMORY_END: u32 = 0x30_0000;

/// The start of the memory that scripts may use freely, up to [`MEMORY_END`].
pub const FREE: u32 = 0x10_0000;

/// The results of start-up, 32 bits each: which start functions ran (bits 1 section, 2 `_initialize`, 4 `_start`), and
/// the results of `enable_features`, `get_config` and `log_enabled`.
pub const BOOT_RECORD: u32 = 0x400;

/// The first 256 bytes of the configuration, as read at start-up.
pub const BOOT_CONFIG: u32 = 0x420;

/// The message of variants that log at start-up.
pub const BOOT_MESSAGE: &str = "tck: started";

/// The guest in WebAssembly text.
pub fn wat(variant: Variant) -> String {
    let mut text = String::with_capacity(TEMPLATE.len() * 2);
    let mut skipping = false;
    for line in TEMPLATE.lines() {
        match line.trim() {
            ";;@imports" => imports(&mut text, variant),
            ";;@calls" => calls(&mut text, variant),
            ";;@boot" => boot(&mut text, variant),
            ";;@handle_response-begin" => skipping = variant == Variant::NoHandleResponse,
            ";;@handle_response-end" => skipping = false,
            _ if skipping => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// The guest as a WebAssembly module.
///
/// # Errors
/// Never with the current template: a test builds all variants.
pub fn wasm(variant: Variant) -> Result<Vec<u8>, wat::Error> {
    wat::parse_str(wat(variant))
}

/// The WASI functions of the variant `wasi`: operation, name, and the types of the parameters.
const WASI: [(u8, &str, &str); 3] = [
    (96, "clock_time_get", "i32 i64 i32"),
    (97, "random_get", "i32 i32"),
    (98, "fd_write", "i32 i32 i32 i32"),
];

fn imports(text: &mut String, variant: Variant) {
    for function in Function::ALL {
        let name = function.name();
        let params = " i32".repeat(function.params().len());
        let params = if params.is_empty() { params } else { format!(" (param{params})") };
        let result = match function.answer() {
            Answer::None => "",
            Answer::I32 => " (result i32)",
            Answer::I64 => " (result i64)",
        };
        line(text, format_args!("(import \"http_handler\" \"{name}\" (func ${name}{params}{result}))"));
    }
    let module = "wasi_snapshot_preview1";
    if variant == Variant::Wasi {
        for (_, name, params) in WASI {
            line(
                text,
                format_args!("(import \"{module}\" \"{name}\" (func ${name} (param {params}) (result i32)))"),
            );
        }
    }
    if variant == Variant::Start(Start::Exit) {
        line(text, format_args!("(import \"{module}\" \"proc_exit\" (func $proc_exit (param i32)))"));
    }
}

fn calls(text: &mut String, variant: Variant) {
    for function in Function::ALL {
        let count = function.params().len();
        let args: String = (0..count).map(|i| format!(" (call $arg (i32.const {i}))")).collect();
        let call = format!("(call ${}{args})", function.name());
        let call = match function.answer() {
            Answer::None => call,
            Answer::I32 => format!("(global.set $last (i64.extend_i32_u {call}))"),
            Answer::I64 => format!("(global.set $last {call})"),
        };
        branch(text, function.op(), count, &call);
    }
    if variant == Variant::Wasi {
        for (op, name, params) in WASI {
            let arg = |(i, ty)| match ty {
                "i64" => format!(" (i64.extend_i32_u (call $arg (i32.const {i})))"),
                _ => format!(" (call $arg (i32.const {i}))"),
            };
            let args: String = params.split(' ').enumerate().map(arg).collect();
            let call = format!("(global.set $last (i64.extend_i32_u (call ${name}{args})))");
            branch(text, op, params.split(' ').count(), &call);
        }
    }
}

fn branch(text: &mut String, op: u8, operands: usize, call: &str) {
    line(text, format_args!("(if (i32.eq (local.get $op) (i32.const {op})) (then"));
    line(text, format_args!("  (call $operands (i32.const {operands})) {call} (br $continue)))"));
}

fn boot(text: &mut String, variant: Variant) {
    let (bit, features, early, run) = match variant {
        Variant::Conformance | Variant::Wasi | Variant::NoHandleResponse => return,
        Variant::Stream => return line(text, format_args!("(@custom \"http-wasm-stream\" \"\")")),
        Variant::Start(Start::Section) => (1, None, None, "(start $boot)"),
        Variant::Start(Start::Initialize) => (2, None, None, "(export \"_initialize\" (func $boot))"),
        Variant::Start(Start::Return) => (4, None, None, "(export \"_start\" (func $boot))"),
        Variant::Start(Start::Exit) => {
            (4, None, None, "(func (export \"_start\") (call $boot) (call $proc_exit (i32.const 0)))")
        }
        Variant::Features(features) => (4, Some(features), None, "(export \"_start\" (func $boot))"),
        Variant::Early(function) => (4, None, Some(function), "(export \"_start\" (func $boot))"),
    };
    line(text, format_args!("(func $boot"));
    let or = format!("(i32.or (i32.load (i32.const {BOOT_RECORD})) (i32.const {bit}))");
    line(text, format_args!("  (i32.store (i32.const {BOOT_RECORD}) {or})"));
    let enable = format!("(call $enable_features (i32.const {}))", features.unwrap_or(0));
    let config = format!("(call $get_config (i32.const {BOOT_CONFIG}) (i32.const 256))");
    for (at, call) in [(4, enable), (8, config), (12, "(call $log_enabled (i32.const 0))".to_owned())] {
        line(text, format_args!("  (i32.store (i32.const {}) {call})", BOOT_RECORD + at));
    }
    line(text, format_args!("  (call $log (i32.const 0) (i32.const 0x60) (i32.const 12))"));
    if let Some(function) = early {
        let args: String =
            function.params().iter().map(|&param| format!(" (i32.const {})", early_arg(param))).collect();
        let drop = if function.answer() == Answer::None { "" } else { " (drop)" };
        line(text, format_args!("  (call ${}{args}){drop}", function.name()));
    }
    line(text, format_args!(") {run}"));
}

/// Arguments that would be valid if there were a request.
fn early_arg(param: Param) -> u32 {
    match param {
        Param::Features | Param::Level | Param::HeaderKind | Param::BodyKind => 0,
        Param::Status => 200,
        Param::Buf => FREE,
        Param::BufLimit => 64,
        Param::In("uri") => 0x70,
        Param::In(_) => 0,
        Param::InLen => 1,
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "  {content}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_a_module() {
        for variant in Variant::all() {
            if let Err(error) = wasm(variant) {
                panic!("{variant}: {error}");
            }
        }
    }
}
