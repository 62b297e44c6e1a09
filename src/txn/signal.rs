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

    /// Whether the receiver is gone.
    pub fn is_abandoned(&self) -> bool {
        Rc::strong_count(&self.0) == 1
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
