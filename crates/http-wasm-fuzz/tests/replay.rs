//! Replays the fuzzer's seeds and findings on the stable toolchain.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use http_wasm_fuzz::TARGETS;

#[test]
fn every_committed_seed_passes() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (name, target) in TARGETS {
        let mut count = 0;
        let folder = std::fs::read_dir(seeds.join(name)).expect("each target has a folder of seeds");
        for seed in folder {
            let path = seed.expect("the folder is readable").path();
            let input = std::fs::read(&path).expect("a seed is a file");
            let passed = catch_unwind(AssertUnwindSafe(|| target(&input)));
            assert!(passed.is_ok(), "{} does not pass", path.display());
            count += 1;
        }
        assert!(count > 0, "{name} has no seed");
    }
}

/// Random inputs, independent of the seeds.
#[test]
fn random_inputs_pass() {
    for (name, target) in TARGETS {
        // Noise is almost never a valid module, so a few tries are enough.
        for seed in 1..=if name == "module" { 100 } else { 2000 } {
            let input = noise(seed, 600);
            let passed = catch_unwind(AssertUnwindSafe(|| target(&input)));
            assert!(passed.is_ok(), "{name} does not pass with noise {seed}");
        }
    }
}

/// Pseudo-random bytes from a seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}
