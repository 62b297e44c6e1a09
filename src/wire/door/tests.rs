//! Who comes in, who waits, who has to go.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::error::{SqlResult, SqlState};

fn slots(slots: usize, reserved: usize, queued: usize) -> Arc<Slots> {
    Slots::new(SlotsLimits { slots, reserved, queued })
}

fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn wait(slots: &Arc<Slots>, class: Class) -> Waiting {
    match slots.enter(class) {
        Ok(Entry::Wait(waiting)) => waiting,
        other => panic!("it has to wait: {other:?}"),
    }
}

fn told<T: std::fmt::Debug>(result: SqlResult<T>) -> String {
    let error = result.expect_err("it is refused");
    assert_eq!(error.code(), SqlState::TOO_MANY_CONNECTIONS);
    error.message().to_owned()
}

#[test]
fn first_come_first_served() {
    let slots = slots(1, 0, 10);
    let first = slots.enter_now(Class::Ordinary).expect("there is one");
    let mut queue: Vec<Waiting> = (0..4).map(|_| wait(&slots, Class::Ordinary)).collect();
    drop(queue.remove(1));
    assert!(queue.iter_mut().all(|waiting| poll(waiting).is_none()));
    drop(first);
    for mut waiting in queue {
        // Whoever comes now is behind all that wait.
        assert_eq!(told(slots.enter_now(Class::Ordinary)), "sorry, too many clients already");
        let slot = poll(&mut waiting).expect("it is its turn").expect("nobody has closed");
        drop(slot);
    }
    assert_eq!(slots.figures(), (0, 0));
}

#[test]
fn a_slot_granted_to_one_that_has_gone_passes_on() {
    let slots = slots(1, 0, 10);
    let first = slots.enter_now(Class::Ordinary).expect("there is one");
    let (gone, mut next) = (wait(&slots, Class::Ordinary), wait(&slots, Class::Ordinary));
    drop(first);
    drop(gone);
    let slot = poll(&mut next).expect("it is its turn").expect("nobody has closed");
    assert_eq!(slots.figures(), (1, 0));
    drop(slot);
    assert_eq!(slots.figures(), (0, 0));
}

#[test]
fn some_are_for_superusers() {
    let slots = slots(3, 2, 10);
    let ordinary = slots.enter_now(Class::Ordinary).expect("one is for everybody");
    let reserved = "remaining connection slots are reserved for non-replication superuser connections";
    assert_eq!(told(slots.enter_now(Class::Ordinary)), reserved);
    let mut waiting = wait(&slots, Class::Ordinary);
    let superusers = [slots.enter_now(Class::Superuser), slots.enter_now(Class::Superuser)];
    assert!(superusers.iter().all(Result::is_ok), "who waits for another kind is no hindrance");
    assert_eq!(told(slots.enter_now(Class::Superuser)), "sorry, too many clients already");
    let mut superuser = wait(&slots, Class::Superuser);
    // One has become free: the superuser came later, but the other may not have it.
    drop(ordinary);
    assert!(poll(&mut waiting).is_none());
    let third = poll(&mut superuser).expect("it may have it");
    drop((third, superusers));
    assert!(poll(&mut waiting).is_some());
}

#[test]
fn the_queue_is_bounded_and_can_be_closed() {
    let slots = slots(1, 0, 2);
    let held = slots.enter_now(Class::Superuser).expect("there is one");
    let mut queue = [wait(&slots, Class::Ordinary), wait(&slots, Class::Superuser)];
    assert_eq!(told(slots.enter(Class::Ordinary)), "sorry, too many clients already");
    slots.close(&SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down"));
    for waiting in &mut queue {
        let error = poll(waiting).expect("it ends").expect_err("nobody gets one any more");
        assert_eq!(error.code(), SqlState::CANNOT_CONNECT_NOW);
    }
    drop((held, queue));
    assert!(slots.enter(Class::Superuser).is_err());
    assert_eq!(slots.figures(), (0, 0));
}

#[test]
fn of_those_that_do_not_log_in_the_oldest_has_to_go() {
    let lobby = Lobby::new(2);
    let (oldest, second) = (lobby.enter(), lobby.enter());
    let (mut first_leaves, mut second_leaves) = (Box::pin(oldest.must_leave()), Box::pin(second.must_leave()));
    assert!(poll(&mut first_leaves).is_none());
    let third = lobby.enter();
    assert!(poll(&mut first_leaves).is_some());
    assert!(poll(&mut second_leaves).is_none());
    drop(first_leaves);
    drop(oldest);
    assert_eq!(lobby.len(), 2);
    drop(second_leaves);
    drop((second, third));
    assert!(lobby.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Enter(bool),
    LeaveQueue(usize),
    Release(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<bool>().prop_map(Step::Enter),
        (0..8usize).prop_map(Step::LeaveQueue),
        (0..8usize).prop_map(Step::Release),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// Whatever happens in whatever order: never more than there are, never one free that somebody in the queue may have, and among
    /// those of one class nobody is served before an earlier one.
    #[test]
    fn slots_are_never_lost_nor_given_twice(steps in steps()) {
        let (max, reserved) = (4, 2);
        let slots = slots(max, reserved, 6);
        let (mut held, mut queue): (Vec<Slot>, Vec<(Class, Waiting)>) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Enter(superuser) => {
                    let class = if superuser { Class::Superuser } else { Class::Ordinary };
                    match slots.enter(class) {
                        Ok(Entry::Slot(slot)) => held.push(slot),
                        Ok(Entry::Wait(waiting)) => queue.push((class, waiting)),
                        Err(_) => prop_assert_eq!(queue.len(), 6),
                    }
                }
                Step::LeaveQueue(at) if at < queue.len() => drop(queue.remove(at)),
                Step::Release(at) if at < held.len() => drop(held.remove(at)),
                Step::LeaveQueue(_) | Step::Release(_) => {}
            }
            let mut passed_over = [false; 2];
            let mut left = Vec::new();
            for (class, mut waiting) in queue {
                match poll(&mut waiting) {
                    Some(slot) => {
                        prop_assert!(!passed_over[class as usize], "an earlier one of its class waits still");
                        held.push(slot.expect("nobody has closed"));
                    }
                    None => {
                        passed_over[class as usize] = true;
                        left.push((class, waiting));
                    }
                }
            }
            queue = left;
            prop_assert_eq!(slots.figures(), (held.len(), queue.len()));
            prop_assert!(held.len() <= max);
            prop_assert!(held.len() == max || !queue.iter().any(|(class, _)| *class == Class::Superuser));
            prop_assert!(held.len() + reserved >= max || queue.is_empty());
        }
    }
}
