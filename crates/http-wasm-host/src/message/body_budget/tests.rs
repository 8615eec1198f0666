use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::ledger::{PROGRESS, SMALL};
use super::{BodyAccount, BodyBudget, NoBodyMemory, Reservation};
use crate::message::{Chunks, Delivery};

const MIB: usize = 1024 * 1024;

fn budget(limit: usize) -> BodyBudget {
    BodyBudget::new(limit)
}

fn open(budget: &BodyBudget) -> BodyAccount {
    budget.open().expect("it is limited")
}

/// An account that holds this many bytes.
fn holder(budget: &BodyBudget, bytes: usize) -> (BodyAccount, Reservation) {
    let account = open(budget);
    let reserved = account.reserve(bytes).expect("there is room");
    (account, reserved)
}

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn held(budget: &BodyBudget) -> usize {
    budget.memory().held
}

#[test]
fn a_reservation_counts_until_its_last_part_is_dropped() {
    let budget = budget(10 * MIB);
    let (account, mut all) = holder(&budget, MIB);
    assert_eq!(held(&budget), MIB);
    let part = all.split(MIB / 4);
    all.release(MIB / 4);
    assert_eq!((held(&budget), all.bytes(), part.bytes()), (MIB * 3 / 4, MIB / 2, MIB / 4));
    drop(account);
    let mut merged = Reservation::default();
    merged.merge(part);
    merged.merge(all);
    assert_eq!((held(&budget), merged.bytes()), (MIB * 3 / 4, MIB * 3 / 4));
    drop(merged);
    assert_eq!(held(&budget), 0);
}

#[test]
fn a_reservation_of_a_host_grows_and_shrinks_until_its_request_is_evicted() {
    let budget = budget(8 * MIB);
    let (older, _kept) = holder(&budget, MIB);
    let younger = open(&budget);
    let mut reserved = younger.hold(MIB).unwrap();
    let mut resize = |bytes| (reserved.resize(bytes), held(&budget) - MIB, reserved.bytes());
    assert_eq!(resize(3 * MIB), (Ok(()), 3 * MIB, 3 * MIB));
    assert_eq!(resize(2 * MIB), (Ok(()), 2 * MIB, 2 * MIB));
    assert_eq!(resize(7 * MIB), (Err(NoBodyMemory), 2 * MIB, 2 * MIB), "there is no room");
    let woken = Arc::new(Wakes::default());
    younger.wake_on_eviction(&woken.clone().into());
    let large = older.hold(5 * MIB).unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1, "it is evicted");
    drop(large);
    assert_eq!(resize(2 * MIB), (Err(NoBodyMemory), 2 * MIB, 2 * MIB));
    assert_eq!(resize(MIB), (Err(NoBodyMemory), MIB, MIB), "what isn't needed is released");
    assert_eq!(resize(0), (Ok(()), 0, 0));
    younger.wake_on_eviction(&woken.clone().into());
    assert_eq!(woken.0.load(Ordering::SeqCst), 2, "at once");
}

#[test]
fn without_a_stalled_request_the_youngest_reservation_is_refused() {
    let budget = budget(8 * MIB);
    let _older = [holder(&budget, 3 * MIB), holder(&budget, 3 * MIB)];
    assert_eq!(open(&budget).reserve(3 * MIB).unwrap_err(), NoBodyMemory);
    let memory = budget.memory();
    assert_eq!((memory.held, memory.refused, memory.evicted), (6 * MIB, 1, 0));
}

#[test]
fn the_oldest_request_gets_its_reservation_and_the_youngest_is_evicted() {
    let budget = budget(8 * MIB);
    let (oldest, kept) = holder(&budget, 2 * MIB);
    let (middle, _middle_bytes) = holder(&budget, 2 * MIB);
    let (youngest, youngest_bytes) = holder(&budget, 2 * MIB);
    let more = oldest.reserve(2 * MIB).expect("it is the oldest");
    assert_eq!((middle.check(), youngest.check()), (Ok(()), Err(NoBodyMemory)));
    assert_eq!(youngest.reserve(1).unwrap_err(), NoBodyMemory);
    drop(youngest_bytes);
    assert_eq!(held(&budget), 6 * MIB);
    // It may finish even if all others together hold too little.
    let all = oldest.reserve(20 * MIB).expect("it is the oldest");
    assert_eq!(middle.check(), Err(NoBodyMemory));
    assert_eq!(budget.memory().evicted, 2);
    drop((kept, more, all));
    assert_eq!(held(&budget), 2 * MIB);
}

#[test]
fn no_request_is_evicted_if_that_would_not_free_enough() {
    let budget = budget(8 * MIB);
    let _oldest = holder(&budget, 4 * MIB);
    let (second, _bytes) = holder(&budget, MIB);
    let (third, _bytes) = holder(&budget, MIB);
    assert!(second.reserve(5 * MIB).is_err(), "the third holds too little for it");
    assert_eq!(third.check(), Ok(()));
}

#[test]
fn stalled_requests_are_evicted_first_even_the_oldest() {
    let budget = budget(8 * MIB);
    let (oldest, oldest_bytes) = holder(&budget, 3 * MIB);
    let (second, _second_bytes) = holder(&budget, 3 * MIB);
    oldest.stall();
    let (youngest, _bytes) = holder(&budget, 2 * MIB);
    assert_eq!((oldest.check(), second.check(), youngest.check()), (Err(NoBodyMemory), Ok(()), Ok(())));
    drop(oldest_bytes);
    assert_eq!(held(&budget), 5 * MIB);
}

#[test]
fn progress_keeps_a_request_from_counting_as_stalled() {
    let budget = budget(8 * MIB);
    let (first, _bytes) = holder(&budget, 6 * MIB);
    first.stall();
    first.moved(PROGRESS - 1);
    first.moved(1);
    assert!(open(&budget).reserve(3 * MIB).is_err());
    assert_eq!(first.check(), Ok(()));
}

#[test]
fn a_small_reservation_succeeds_where_large_ones_are_refused() {
    let budget = budget(8 * MIB);
    let (large, _large_bytes) = holder(&budget, 7 * MIB);
    assert!(open(&budget).reserve(SMALL + 1).is_err());
    let small: Vec<_> = (0..MIB / SMALL).map(|_| holder(&budget, SMALL)).collect();
    assert!(open(&budget).reserve(SMALL).is_err());
    // Small holders don't lose memory either, since it would be of little use to a large one.
    let _more = large.reserve(MIB).expect("it is the oldest");
    assert!(small.iter().all(|(account, _)| account.check().is_ok()));
}

#[test]
fn reservations_exceed_the_budget_by_at_most_a_quarter_during_eviction() {
    let budget = budget(8 * MIB);
    let (stalled, stalled_bytes) = holder(&budget, 7 * MIB);
    stalled.stall();
    let _newer: Vec<_> = (0..2).map(|_| holder(&budget, MIB)).collect();
    assert_eq!((stalled.check(), held(&budget)), (Err(NoBodyMemory), 9 * MIB));
    assert!(open(&budget).reserve(MIB / 2).is_err());
    drop(stalled_bytes);
    assert!(open(&budget).reserve(MIB / 2).is_ok());
}

#[test]
fn a_waiting_request_is_woken_when_it_is_evicted() {
    let count = Arc::new(Wakes::default());
    let waker = Waker::from(count.clone());
    let budget = budget(8 * MIB);
    let (oldest, _bytes) = holder(&budget, MIB);
    let (youngest, _bytes) = holder(&budget, 4 * MIB);
    let wait = || BodyAccount::wait::<()>(Some(&youngest), &Context::from_waker(&waker));
    assert_eq!(wait(), Poll::Pending);
    let _more = oldest.reserve(6 * MIB).expect("it is the oldest");
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert_eq!(wait(), Poll::Ready(Err(NoBodyMemory)));
}

#[test]
fn outgoing_bytes_are_evicted_if_the_receiver_stalls() {
    let budget = budget(8 * MIB);
    let account = open(&budget);
    let mut chunks = Chunks::default();
    chunks.extend_reserved(&vec![b'x'; 4 * MIB], account.reserve(4 * MIB).unwrap());
    let mut delivery = Delivery::new(chunks);
    let first = delivery.pop().unwrap().expect("a piece");
    assert_eq!(held(&budget), 4 * MIB - first.len());
    account.stall();
    let _other = holder(&budget, 7 * MIB);
    assert_eq!(held(&budget), 7 * MIB);
    assert!(!delivery.is_empty());
    assert_eq!(delivery.pop().unwrap_err(), NoBodyMemory);
}

#[test]
fn optional_reservations_take_at_most_a_quarter_and_evict_nobody() {
    let budget = budget(8 * MIB);
    let mut lent = budget.try_hold(MIB).expect("there is room");
    assert!(lent.grow(MIB));
    assert!(!lent.grow(1));
    assert!(budget.try_hold(1).is_none());
    drop(lent);
    assert_eq!(held(&budget), 0);
    let (stalled, _bytes) = holder(&budget, 7 * MIB);
    stalled.stall();
    assert!(budget.try_hold(1).is_none());
    assert_eq!(stalled.check(), Ok(()));
}

#[test]
fn without_a_limit_reservations_are_not_counted() {
    let budget = budget(usize::MAX);
    assert!(budget.open().is_none());
    assert!(budget.try_hold(MIB).expect("there is always room").grow(MIB));
    assert_eq!(held(&budget), 0);
}

#[test]
fn concurrent_accounts_release_everything_they_reserved() {
    let budget = budget(4 * MIB);
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let budget = &budget;
            scope.spawn(move || {
                for round in 0..500_usize {
                    let account = open(budget);
                    let mut all = Reservation::default();
                    for step in 1..8 {
                        match account.reserve((thread + 1) * (round % 50) * step * 500) {
                            Ok(more) => all.merge(more),
                            Err(NoBodyMemory) => break,
                        }
                    }
                    assert!(
                        held(budget) <= 4 * MIB + MIB / 2 + 4 * 49 * 28 * 500,
                        "one account beyond the limit"
                    );
                }
            });
        }
    });
    assert_eq!(held(&budget), 0);
}
