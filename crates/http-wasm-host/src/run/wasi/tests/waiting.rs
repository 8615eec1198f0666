//! `poll_oneoff`.

use std::pin::pin;
use std::time::Instant;

use super::*;

/// A guest that polls `count` subscriptions at 0, with room for events at 1024 and for their number at 4096.
fn polls(config: &WasiConfig, count: u32, subscriptions: &[(usize, &[u8])]) -> Guest {
    let mut body = String::new();
    for (at, bytes) in subscriptions {
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        write!(body, "(data (i32.const {at}) \"{escaped}\")").unwrap();
    }
    write!(
        body,
        "(func (export \"run\") (result i32)
            (call $poll_oneoff (i32.const 0) (i32.const 1024) (i32.const {count}) (i32.const 4096)))"
    )
    .unwrap();
    Guest::new(config, &[("poll_oneoff", "i32 i32 i32 i32")], &body)
}

fn clock(userdata: u64, id: u32, time: Duration, flags: u16) -> [u8; 48] {
    let mut record = fd(userdata, 0, id);
    record[24..32].copy_from_slice(&(time.as_nanos() as u64).to_le_bytes());
    record[40..42].copy_from_slice(&flags.to_le_bytes());
    record
}

fn fd(userdata: u64, kind: u8, fd: u32) -> [u8; 48] {
    let mut record = [0; 48];
    record[..8].copy_from_slice(&userdata.to_le_bytes());
    record[8] = kind;
    record[16..20].copy_from_slice(&fd.to_le_bytes());
    record
}

/// Number, error and kind of the `n`-th event.
fn event(guest: &mut Guest, n: usize) -> (u64, u8, u8) {
    let at = 1024 + 32 * n;
    (guest.u64(at), guest.bytes(at + 8, 1)[0], guest.bytes(at + 10, 1)[0])
}

/// `start` is a time before the start of the guest's clock.
fn assert_sleeps(guest: &mut Guest, start: Instant) {
    let mut polled = 0;
    let errno = block_on(async {
        let mut call = pin!(guest.run_on_fiber());
        std::future::poll_fn(|cx| {
            polled += 1;
            call.as_mut().poll(cx)
        })
        .await
    });
    let took = start.elapsed();
    // The system's clocks may differ by a little.
    assert!(took >= MS300 - Duration::from_millis(5) && took < Duration::from_secs(10), "{took:?}");
    // The task is woken when the time is up, not by a ticker.
    assert!((2..10).contains(&polled), "{polled}");
    assert_eq!((errno, guest.u32(4096)), (0, 1));
    assert_eq!(event(guest, 0), (7, 0, 0));
}

const MS300: Duration = Duration::from_millis(300);

#[test]
fn a_sleeping_guest_needs_no_runtime_and_holds_no_thread() {
    let sleep = clock(7, 1, MS300, 0);
    let longer = clock(8, 0, Duration::from_secs(3600), 0);
    let mut guest = polls(&WasiConfig::default(), 2, &[(0, &longer), (48, &sleep)]);
    assert_sleeps(&mut guest, Instant::now());
    // No state of one wait is left for the next.
    assert_sleeps(&mut guest, Instant::now());
}

#[test]
fn a_guest_sleeps_until_an_absolute_time() {
    let mut guest = polls(&WasiConfig::default(), 1, &[]);
    let start = Instant::now();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let memory = guest.instance.get_memory(&mut guest.store, "memory").unwrap();
    memory.write(&mut guest.store, 0, &clock(7, 0, now + MS300, 1)).unwrap();
    assert_sleeps(&mut guest, start);
}

#[test]
fn poll_returns_ready_events_at_once_each_with_its_error() {
    let subscriptions = [
        fd(1, 1, 0),
        clock(2, 1, Duration::from_secs(3600), 0),
        fd(3, 2, 2),
        fd(4, 1, 9),
        clock(5, 1, Duration::from_nanos(1), 1),
        clock(6, 9, MS300, 0),
    ];
    let mut guest = polls(&WasiConfig::default(), 6, &[(0, subscriptions.as_flattened())]);
    // It needs no fiber, since nothing waits.
    assert_eq!((guest.run(), guest.u32(4096)), (0, 5));
    let events = [0, 1, 2, 3, 4].map(|n| event(&mut guest, n));
    assert_eq!(events, [(1, 0, 1), (3, 0, 2), (4, 8, 1), (5, 0, 0), (6, 28, 0)]);
}

#[test]
fn polling_no_too_many_or_malformed_subscriptions_is_invalid() {
    assert_eq!(polls(&WasiConfig::default(), 0, &[]).run(), 28);
    assert_eq!(polls(&WasiConfig::default(), 4097, &[]).run(), 28);
    assert_eq!(polls(&WasiConfig::default(), 1, &[(0, &fd(1, 3, 0))]).run(), 28);
    assert_eq!(polls(&WasiConfig::default(), 2000, &[]).run(), 21);
}

#[test]
fn a_guest_with_mounts_sleeps_and_polls() {
    let dir = tempfile::tempdir().unwrap();
    let config = WasiConfig { mounts: vec![Mount::read_only(dir.path(), "/data")], ..WasiConfig::default() };
    assert_sleeps(&mut polls(&config, 1, &[(0, &clock(7, 1, MS300, 0))]), Instant::now());
    let mut guest = polls(&config, 1, &[(0, &fd(1, 1, 4))]);
    assert_eq!((block_on(guest.run_on_fiber()), event(&mut guest, 0)), (0, (1, 0, 1)));
}
