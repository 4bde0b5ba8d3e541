//! Numbers are given out once, even by a database that has lost commits.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use store::Store;
use store::orders::{self, Created};

use crate::support::fixture::{Fixture, new_order, on_every_database};

on_every_database! {
    a_counter_that_went_back_under_running_processes_gives_no_number_twice
    a_counter_behind_the_existing_orders_refuses_no_request
    many_orders_that_meet_numbers_of_others_make_them_jump_once
    what_a_person_says_of_a_restore_reaches_processes_that_run
    orders_numbered_by_the_clock_begin_above_those_of_a_lost_database
    orders_numbered_by_the_clock_stand_beside_a_process_that_does_not
}

/// More than a block has, so that each process takes several blocks.
const MORE_THAN_A_BLOCK: usize = 150;

async fn create(store: &Store, count: usize) -> BTreeSet<i64> {
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        match orders::create(store, &new_order(), None).await.unwrap() {
            Created::New(order) => assert!(ids.insert(order.id.0)),
            other => panic!("{other:?}"),
        }
    }
    ids
}

/// Leaves the rows that a restore, or a standby that had not received everything, would leave.
async fn lose(f: &Fixture, orders: &BTreeSet<i64>) {
    let first = orders.first().unwrap();
    let lost: Vec<String> =
        ["jobs where kind = 'create_payment_link' and subject_id", "order_history where order_id", "orders where id"]
            .iter()
            .map(|rows| format!("delete from {rows} >= {first}"))
            .collect();
    f.execute(&lost).await;
    f.execute(&[format!("update id_blocks set next = {first} where name = 'orders'")]).await;
}

/// Shows: TIME-2
async fn a_counter_that_went_back_under_running_processes_gives_no_number_twice(f: Fixture) {
    let (one, two) = (&f.store, &f.another_process().await);
    let kept = create(one, 3).await;
    let lost: BTreeSet<i64> = &create(two, MORE_THAN_A_BLOCK).await | &create(one, MORE_THAN_A_BLOCK).await;
    for process in [one, two] {
        process.watch_numbers().await.unwrap();
    }

    lose(&f, &lost).await;
    two.watch_numbers().await.unwrap();
    let new: BTreeSet<i64> = &create(two, MORE_THAN_A_BLOCK).await | &create(one, MORE_THAN_A_BLOCK).await;

    assert_eq!(new.len(), 2 * MORE_THAN_A_BLOCK);
    assert!(new.is_disjoint(&lost) && new.is_disjoint(&kept), "numbers that customers hold are given out again");
    let numbers = one.watch_numbers().await.unwrap();
    assert!(numbers.iter().all(|numbers| numbers.jumped_at_ms.is_some()), "jobs and refunds, too: {numbers:?}");
    let (first, second) = (numbers, two.watch_numbers().await.unwrap());
    assert_eq!(first, second, "they jump once");
}

/// A process that starts after the restore has seen no earlier counter.
async fn a_counter_behind_the_existing_orders_refuses_no_request(f: Fixture) {
    let there = create(&f.store, 3).await;
    f.execute(&["update id_blocks set next = 1 where name = 'orders'".to_owned()]).await;

    let new = create(&f.another_process().await, 3).await;

    assert!(new.is_disjoint(&there), "{new:?}");
}

async fn many_orders_that_meet_numbers_of_others_make_them_jump_once(f: Fixture) {
    let there = create(&f.store, MORE_THAN_A_BLOCK).await;
    f.execute(&["update id_blocks set next = 1 where name = 'orders'".to_owned()]).await;
    let process = f.another_process().await;

    let new: BTreeSet<i64> = join_all((0..8).map(|_| create(&process, 1))).await.into_iter().flatten().collect();

    assert_eq!(new.len(), 8);
    assert!(new.is_disjoint(&there), "{new:?}");
    assert_eq!(f.number("select max(jumps) from id_blocks").await, 1);
}

/// Shows: TIME-2
async fn what_a_person_says_of_a_restore_reaches_processes_that_run(f: Fixture) {
    let before = create(&f.store, 3).await;

    let numbers = f.another_process().await.jump_numbers().await.unwrap();
    f.store.watch_numbers().await.unwrap();
    let after = create(&f.store, 3).await;

    let next = numbers.iter().find(|numbers| numbers.name == "orders").unwrap().next;
    assert!(next > before.last().unwrap() + 1_000_000, "{numbers:?}");
    assert!(*after.first().unwrap() >= next, "{after:?}: the block at hand was dropped");
}

/// 2026-01-01T00:00:00Z, epoch milliseconds.
const YEAR_2026_MS: i64 = 1_767_225_600_000;

/// A new database, or a copy that was put back and nobody said so, must not give out what an earlier one gave: Click names
/// a payment by the order's number alone.
/// Shows: TIME-3
async fn orders_numbered_by_the_clock_begin_above_those_of_a_lost_database(f: Fixture) {
    let seconds = |store: &Store| (store.now_ms() - YEAR_2026_MS) / 1_000;
    let without = create(&f.store, 1).await;
    assert!(*without.first().unwrap() < 1_000, "{without:?}: where no account needs it, numbers begin at 1");

    let process = f.another_process().await;
    process.number_orders_by_the_clock();
    let (earliest, given, latest) = (seconds(&process), create(&process, MORE_THAN_A_BLOCK).await, seconds(&process));

    assert!(*given.first().unwrap() >= earliest, "{given:?} from {earliest}");
    assert!(*given.last().unwrap() < latest + 20 * i64::try_from(MORE_THAN_A_BLOCK).unwrap(), "{given:?} to {latest}");
    assert!(f.number("select max(id) from jobs").await < 10_000, "the numbers of jobs stay");
    assert_eq!(f.number("select max(jumps) from id_blocks").await, 0, "it is no jump");
    let again = f.of_the_same_kind().await;
    again.store.number_orders_by_the_clock();
    let first = *create(&again.store, 1).await.first().unwrap();
    assert!(first >= earliest, "{first} of a new database");

    // As a person says it of a copy that is a year old: the next number is far from all that was given since.
    let told = again.store.jump_numbers().await.unwrap();
    f.execute(&["update id_blocks set next = 1 where name = 'orders'".to_owned()]).await;
    let restored = f.another_process().await;
    restored.number_orders_by_the_clock();
    let jumped = restored.jump_numbers().await.unwrap();
    for numbers in [told, jumped] {
        let orders = numbers.iter().find(|numbers| numbers.name == "orders").unwrap();
        assert!(orders.next >= earliest + 10_000_000, "{orders:?}");
    }
}

/// A running older release, or a process whose settings are still the old ones, goes on above.
async fn orders_numbered_by_the_clock_stand_beside_a_process_that_does_not(f: Fixture) {
    let earlier = create(&f.store, 3).await;
    let by_clock = f.another_process().await;
    by_clock.number_orders_by_the_clock();

    let first = create(&by_clock, 3).await;
    let beside = create(&f.another_process().await, MORE_THAN_A_BLOCK).await;
    let last = create(&by_clock, MORE_THAN_A_BLOCK).await;

    assert!(earlier.last() < first.first() && first.last() < beside.first(), "{earlier:?} {first:?} {beside:?}");
    assert!(beside.is_disjoint(&last) && first.is_disjoint(&last));
    for process in [&f.store, &by_clock] {
        process.watch_numbers().await.unwrap();
    }
    assert_eq!(f.number("select max(jumps) from id_blocks").await, 0);
}

/// A standby that took over writes another timeline; a dump is loaded into another cluster or into new tables. The test
/// changes the stored history instead of the server.
/// Shows: TIME-2
#[tokio::test]
async fn numbers_jump_where_postgresql_is_on_another_history() {
    let f = Fixture::postgres().await;
    f.store.watch_numbers().await.unwrap();
    let before = create(&f.store, MORE_THAN_A_BLOCK).await;
    let history = f.text("select history from id_blocks where name = 'orders'").await;
    assert_eq!(history.split('/').count(), 3, "{history}");

    lose(&f, &before).await;
    f.execute(&["update id_blocks set history = '7/00000001/16384'".to_owned()]).await;
    // This process has seen nothing from before.
    let after = create(&f.another_process().await, MORE_THAN_A_BLOCK).await;

    assert!(after.is_disjoint(&before), "{after:?}");
    assert_eq!(f.text("select history from id_blocks where name = 'orders'").await, history);
    let further = create(&f.store, MORE_THAN_A_BLOCK).await;
    assert!(further.is_disjoint(&before) && further.is_disjoint(&after), "{further:?}");
    assert_eq!(f.number("select max(jumps) from id_blocks").await, 1, "once, whichever process finds it");
}
