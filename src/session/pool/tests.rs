//! Who gets which session, in what order, and what is left in it.

use std::cell::RefCell;

use super::*;
use crate::base::{CoreId, Oid};
use crate::runtime::sim::Sim;
use crate::runtime::{QueueClass, random_u64, sleep, spawn_joinable, yield_now};
use crate::session::prepared::Prepared;

fn identity(user: &str) -> Identity {
    Identity { user: user.to_owned(), role: Oid(100 + user.len() as u32), database: "shop".to_owned() }
}

fn pool(size: usize, patience: Option<Duration>) -> (Rc<Pool>, Rc<CoreMetrics>) {
    let metrics = Rc::new(CoreMetrics::new(CoreId(0), 1));
    (Pool::new(size, patience, Rc::clone(&metrics)), metrics)
}

/// Leaves a plan in a workspace.
fn work(workspace: &mut Workspace) {
    workspace.texts.insert("SELECT 1", &[], std::sync::Arc::new(Prepared::new("SELECT 1".into(), None, 0)));
}

fn has_worked(workspace: &mut Workspace) -> bool {
    workspace.texts.get("SELECT 1", &[], 0, 0).is_some()
}

#[test]
fn plans_are_left_to_the_same_identity_only() {
    let (pool, metrics) = pool(2, None);
    let (ann, bob, eve) = (identity("ann"), identity("bobby"), identity("eve"));
    let (mut workspace, permit) = pool.take_now(&ann).expect("there is one");
    work(&mut workspace);
    permit.give_back(workspace);
    // A new one rather than another's.
    let (mut other, permit) = pool.take_now(&bob).expect("there is one");
    assert!(!has_worked(&mut other));
    permit.give_back(other);
    let (mut again, permit) = pool.take_now(&ann).expect("there is one");
    assert!(has_worked(&mut again));
    permit.give_back(again);
    // The third gets the place of the one that has not been used for longest, and nothing of it; the user alone does not decide.
    for third in [&eve, &Identity { role: Oid(1), ..ann.clone() }] {
        let (mut workspace, permit) = pool.take_now(third).expect("there is one");
        assert!(!has_worked(&mut workspace));
        assert_eq!(workspace.identity, *third);
        permit.give_back(workspace);
    }
    assert_eq!((metrics.pool.sessions.get(), metrics.pool.created.get(), metrics.pool.closed.get()), (2, 4, 2));
}

#[test]
fn a_session_lost_is_made_again() {
    let ((pool, metrics), ann) = (pool(1, None), identity("ann"));
    for _ in 0..3 {
        let taken = pool.take_now(&ann).expect("there is one");
        assert!(pool.take_now(&ann).is_none());
        drop(taken);
    }
    let (workspace, permit) = pool.take_now(&ann).expect("there is one");
    permit.give_back(workspace);
    assert_eq!((pool.free(), metrics.pool.created.get(), metrics.pool.sessions.get()), (1, 4, 1));
}

#[test]
fn guests_are_as_many_as_sessions_and_leave_nothing() {
    let ((pool, metrics), ann) = (pool(2, None), identity("ann"));
    let held: Vec<_> = (0..2).filter_map(|_| pool.take_now(&ann)).collect();
    let mut guests: Vec<_> = std::iter::from_fn(|| pool.take_guest(&ann)).take(10).collect();
    assert_eq!((held.len(), guests.len()), (2, 2));
    let (mut workspace, permit) = guests.remove(0);
    assert!(permit.is_guest());
    work(&mut workspace);
    permit.give_back(workspace);
    assert!(pool.take_now(&ann).is_none() && pool.take_guest(&ann).is_some());
    drop((held, guests));
    let (mut workspace, _permit) = pool.take_now(&ann).expect("there is one");
    assert!(!has_worked(&mut workspace));
    assert_eq!(metrics.pool.sessions.get(), 1);
}

#[test]
fn sessions_are_given_in_the_order_of_asking_and_no_longer_than_patience() {
    Sim::new(7)
        .run(1, |_| async {
            let (pool, metrics) = pool(1, Some(Duration::from_secs(1)));
            let (workspace, held) = pool.take_now(&identity("ann")).expect("there is one");
            let served = Rc::new(RefCell::new(Vec::new()));
            let mut waiting = Vec::new();
            for number in 0..5 {
                let (pool, served) = (Rc::clone(&pool), Rc::clone(&served));
                waiting.push(spawn_joinable(QueueClass::Interactive, async move {
                    let (workspace, permit) = pool.take(&identity("ann")).await?;
                    served.borrow_mut().push(number);
                    // The last is waited for too long by then.
                    sleep(Duration::from_millis(290)).await;
                    permit.give_back(workspace);
                    Ok::<(), SqlError>(())
                }));
                yield_now().await;
                sleep(Duration::from_millis(1)).await;
            }
            sleep(Duration::from_millis(100)).await;
            held.give_back(workspace);
            let mut outcomes = Vec::new();
            for task in waiting {
                outcomes.push(task.await.expect("nobody panics").map_err(|error| error.code()));
            }
            assert_eq!(*served.borrow(), [0, 1, 2, 3]);
            assert_eq!(outcomes.last(), Some(&Err(SqlState::TOO_MANY_CONNECTIONS)));
            assert!(outcomes[..4].iter().all(Result::is_ok));
            assert_eq!(metrics.pool.timeouts[Awaited::Session as usize].get(), 1);
        })
        .expect_completed();
}

#[test]
fn whoever_gives_up_takes_nothing_along() {
    for seed in 0..30 {
        Sim::new(seed)
            .run(1, |_| async {
                let (pool, metrics) = pool(3, Some(Duration::from_micros(200)));
                let tasks: Vec<_> = (0..40)
                    .map(|number| {
                        let pool = Rc::clone(&pool);
                        spawn_joinable(QueueClass::Interactive, async move {
                            let me = identity(["ann", "bobby", "victor"][number % 3]);
                            for _ in 0..10 {
                                let Ok((workspace, permit)) = pool.take(&me).await else { continue };
                                sleep(Duration::from_micros(random_u64() % 100)).await;
                                if random_u64() % 4 > 0 {
                                    permit.give_back(workspace);
                                }
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.expect("nobody panics");
                }
                let all: Vec<_> = std::iter::from_fn(|| pool.take_now(&identity("ann"))).collect();
                assert_eq!(all.len(), 3, "every permit has come back");
                assert_eq!(metrics.pool.sessions.get(), 3);
            })
            .expect_completed();
    }
}

#[test]
fn what_nobody_wants_is_swept() {
    Sim::new(3)
        .run(1, |_| async {
            let (pool, metrics) = pool(3, None);
            let taken: Vec<_> = (0..3).filter_map(|_| pool.take_now(&identity("ann"))).collect();
            taken.into_iter().for_each(|(workspace, permit)| permit.give_back(workspace));
            pool.sweep();
            assert_eq!(pool.free(), 3);
            sleep(UNUSED_MAX / 2).await;
            let (workspace, permit) = pool.take_now(&identity("ann")).expect("there is one");
            permit.give_back(workspace);
            sleep(UNUSED_MAX / 2).await;
            pool.sweep();
            assert_eq!((pool.free(), metrics.pool.sessions.get(), metrics.pool.closed.get()), (1, 1, 2));
        })
        .expect_completed();
}
