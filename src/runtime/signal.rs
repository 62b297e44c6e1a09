//! A one-shot signal between tasks of one core: what a waiter for a row, a table or a durable timestamp awaits.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
enum State<T> {
    Waiting(Option<Waker>),
    Sent(T),
    Taken,
}

/// The sending half.
#[derive(Debug)]
pub struct Sender<T>(Rc<RefCell<State<T>>>);

/// The awaiting half. Dropping it is how a waiter gives up.
#[derive(Debug)]
pub struct Receiver<T>(Rc<RefCell<State<T>>>);

/// A fresh pair.
pub fn signal<T>() -> (Sender<T>, Receiver<T>) {
    let state = Rc::new(RefCell::new(State::Waiting(None)));
    (Sender(state.clone()), Receiver(state))
}

impl<T> Sender<T> {
    /// Delivers the value; does nothing if nobody awaits it any more.
    pub fn send(self, value: T) {
        let before = std::mem::replace(&mut *self.0.borrow_mut(), State::Sent(value));
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.borrow_mut();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Sent(value) => Poll::Ready(value),
            State::Waiting(_) => {
                *state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Taken => panic!("a signal is awaited once"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::signal;
    use crate::runtime::sim::Sim;
    use crate::runtime::{QueueClass, give_way, spawn};

    #[test]
    fn a_value_arrives_whoever_comes_first() {
        Sim::new(1)
            .run(1, |_| async {
                let (sender, receiver) = signal();
                sender.send(1);
                assert_eq!(receiver.await, 1);
                let (sender, receiver) = signal();
                spawn(QueueClass::Interactive, async move {
                    give_way().await;
                    sender.send(2);
                });
                assert_eq!(receiver.await, 2);
                let (sender, receiver) = signal();
                drop(receiver);
                sender.send(3);
            })
            .expect_completed();
    }
}
