//! Precompiled guests, and the code cache.

use std::path::{Path, PathBuf};

use http_wasm_host::{Engine, Guest, InMemoryHost, LoadError, Snapshot};

use crate::support::{BUFFER_REQUEST, Probe, Wat, engine, get, number, post, stops};

/// A guest that needs suspension points, memory and a table.
fn wat() -> Wat {
    stops("(call $read_all 0 64) (call $note (table.size $t))")
        .item("(table $t 7 funcref)")
        .features(BUFFER_REQUEST)
        .pages(2)
}

fn precompiled(engine: &Engine) -> Vec<u8> {
    wat().builder(engine).precompile(wat().text().as_bytes()).unwrap()
}

#[test]
fn a_guest_runs_from_precompiled_code_in_slots_and_beyond_them() {
    let file = precompiled(engine());
    for slots in [0, 1] {
        let engine = Engine::builder().slots(slots).build().unwrap();
        let guest: Guest<InMemoryHost> = wat().builder(&engine).trust_precompiled().load(&file).unwrap();
        let probe = Probe::new(guest);
        let first = probe.noted(post(b"hello"));
        assert_eq!(first.last(), Some(&number(7)));
        assert_eq!(probe.noted(get()).last(), Some(&number(7)));
    }
}

#[test]
fn untrusted_precompiled_code_is_refused_with_a_hint() {
    match wat().builder(engine()).load::<InMemoryHost>(&precompiled(engine())) {
        Err(error @ LoadError::Precompiled { .. }) => {
            assert!(error.to_string().contains("trust the file"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_truncated_precompiled_file_is_refused() {
    let file = precompiled(engine());
    for len in [11, 100, file.len() - 1] {
        match wat().builder(engine()).trust_precompiled().load::<InMemoryHost>(&file[..len]) {
            Err(error @ LoadError::Precompiled { .. }) => {
                assert!(error.to_string().contains("truncated"), "{error}");
            }
            other => panic!("{len}: {other:?}"),
        }
    }
}

#[test]
fn incompatible_precompiled_code_is_recompiled() {
    let mut file = precompiled(engine());
    // The version is at the beginning, preceded by its length in eight bytes.
    let version = file.windows(4).position(|bytes| bytes == b"\0asm").unwrap() - 9;
    file[version] ^= 1;
    let guest: Guest<InMemoryHost> = wat().builder(engine()).trust_precompiled().load(&file).unwrap();
    assert_eq!(Probe::new(guest).noted(get()).last(), Some(&number(7)));
}

#[test]
fn an_invalid_guest_cannot_be_precompiled() {
    let error = wat().builder(engine()).precompile(b"(module)").unwrap_err();
    assert!(matches!(error, LoadError::Invalid { .. }), "{error}");
}

#[test]
fn a_precompiled_guest_can_have_a_snapshot() {
    let wat = wat().on_initialize("(drop (memory.grow 1))");
    let file = wat.builder(engine()).precompile(wat.text().as_bytes()).unwrap();
    let builder = wat.builder(engine()).trust_precompiled().snapshot(Snapshot::On);
    let guest: Guest<InMemoryHost> = builder.load(&file).unwrap();
    assert_eq!(guest.facts().memory_bytes, 3 * 64 * 1024);
}

/// Loads a guest that answers, in a new engine with this code cache.
fn load(cache: &Path, snapshot: Snapshot, config: &[u8]) -> Engine {
    let engine = Engine::builder().code_cache(cache).slots(1).build().unwrap();
    let wat = wat().on_initialize("(drop (call $get_config BUF LIMIT))").config(config);
    let guest: Guest<InMemoryHost> =
        wat.builder(&engine).snapshot(snapshot).load(wat.text().as_bytes()).unwrap();
    assert_eq!(Probe::new(guest).noted(get()).last(), Some(&number(7)));
    engine
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn compiled_code_except_that_of_snapshots_is_cached_in_the_given_directory() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path();
    load(cache, Snapshot::Off, b"one");
    assert_eq!(entries(cache).len(), 1);
    let written = || std::fs::read(&entries(cache)[0]).unwrap();
    let before = written();
    load(cache, Snapshot::Off, b"two");
    assert!(entries(cache).len() == 1 && written() == before);
    // The module whose start-up runs for a snapshot is cached. The resulting module contains the configuration, and
    // isn't cached.
    load(cache, Snapshot::On, b"one");
    assert_eq!(entries(cache).len(), 2);
    load(cache, Snapshot::On, b"two");
    assert_eq!(entries(cache).len(), 2);
}

#[test]
fn a_damaged_code_cache_entry_is_discarded_counted_and_recreated() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path();
    assert_eq!(load(cache, Snapshot::Off, b"").code_cache_discarded(), 0);
    let [entry] = &entries(cache)[..] else { panic!("one entry") };
    let good = std::fs::read(entry).unwrap();
    // Flipped bits throughout the file, and truncated files.
    for part in 0..4 {
        let at = part * good.len() / 4 + 7;
        let mut bad = good.clone();
        bad[at] ^= 1 << part;
        for bad in [&bad[..], &good[..at]] {
            std::fs::write(entry, bad).unwrap();
            assert_eq!(load(cache, Snapshot::Off, b"").code_cache_discarded(), 1, "{at}");
            assert_eq!(load(cache, Snapshot::Off, b"").code_cache_discarded(), 0, "{at}");
        }
    }
}
