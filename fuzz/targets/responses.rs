#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| http_wasm_fuzz::responses(input));
