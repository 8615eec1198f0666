//! Which guests share a snapshot, as the random bytes in it show.

use std::thread;

use http_wasm_host::{Engine, Guest, InMemoryHost, Snapshot};

use super::{DRAW, RANDOM, builder, load, shown, shows};
use crate::support::Probe;

fn seed(probe: &Probe<InMemoryHost>) -> Vec<u8> {
    shown(probe, 1).remove(0)
}

#[test]
fn without_a_snapshot_each_instance_draws_its_own_random_bytes() {
    let mut seen = shown(&load(&shows(RANDOM, "", DRAW), Snapshot::Off), 3);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[test]
fn initialisation_runs_once_however_many_instances_there_are() {
    let mut seen = shown(&load(&shows(RANDOM, "", DRAW), Snapshot::SharedSeed), 10);
    seen.dedup();
    assert_eq!(seen.len(), 1);
}

#[test]
fn a_loaded_guest_with_the_same_settings_is_not_initialised_again() {
    let text = shows(RANDOM, "(; the same guest ;)", DRAW);
    let engine = Engine::new().unwrap();
    let load = || {
        let guest = Guest::<InMemoryHost>::builder(&engine).snapshot(Snapshot::SharedSeed);
        Probe::new(guest.load(text.as_bytes()).unwrap())
    };
    let first = load();
    let seen = seed(&first);
    let second = load();
    assert_eq!(seed(&second), seen);
    drop(first);
    assert_eq!(seed(&load()), seen);
    drop(second);
    // The snapshot was dropped because it was no longer in use, and is created again.
    assert_ne!(seed(&load()), seen);
}

#[test]
fn different_settings_create_different_snapshots() {
    let text = shows(RANDOM, "", DRAW);
    let dir = tempfile::tempdir().unwrap();
    let plain = || builder(Snapshot::SharedSeed);
    let mount = http_wasm_host::Mount::read_only(dir.path(), "/data");
    let guests: Vec<_> =
        [plain(), plain().config("a"), plain().arg("a"), plain().env("A", "b"), plain().mount(mount)]
            .map(|builder| Probe::new(builder.load(text.as_bytes()).unwrap()))
            .into();
    let mut seeds: Vec<_> = guests.iter().map(seed).collect();
    seeds.sort();
    seeds.dedup();
    assert_eq!(seeds.len(), guests.len());
}

#[test]
fn guests_loaded_at_the_same_time_are_initialised_once() {
    let text = shows(RANDOM, "(global i32 (i32.const 4))", DRAW);
    let guests: Vec<_> = thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(|| load(&text, Snapshot::SharedSeed)));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    let mut seeds: Vec<_> = guests.iter().map(seed).collect();
    seeds.dedup();
    assert_eq!(seeds.len(), 1);
}

#[test]
fn a_failed_load_leaves_no_snapshot_behind() {
    let text = shows(RANDOM, "(global i32 (i32.const 5))", DRAW);
    for _ in 0..2 {
        assert!(builder(Snapshot::On).load::<InMemoryHost>(text.as_bytes()).is_err());
    }
    load(&text, Snapshot::SharedSeed);
}
