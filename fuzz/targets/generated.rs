//! Modules that wasm-smith makes up: valid, and like guests in that they import functions of the ABI and of WASI, and
//! export what a guest must.

#![no_main]

use std::sync::LazyLock;

use http_wasm_tck::guest::{Start, Variant, wasm};
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use wasm_smith::{Config, Module};

static CONFIG: LazyLock<Config> = LazyLock::new(|| Config {
    available_imports: Some(guest(Variant::Wasi)),
    exports: Some(guest(Variant::Start(Start::Initialize))),
    max_memory32_bytes: 1 << 22,
    ..Config::default()
});

fn guest(variant: Variant) -> Vec<u8> {
    wasm(variant).expect("the kit's guests are modules")
}

fuzz_target!(|input: &[u8]| {
    if let Ok(module) = Module::new(CONFIG.clone(), &mut Unstructured::new(input)) {
        http_wasm_fuzz::module(&module.to_bytes());
    }
});
