//! PostgreSQL's frontend/backend protocol, version 3: bytes in, bytes out.
//!
//! | module | role |
//! |---|---|
//! | `framer` | cuts the stream into whole messages of possible lengths |
//! | `message` | the client's messages as borrowed views |
//! | `startup` | what comes before the first statement |
//! | `authentication` | who the client is |
//! | `encode` | the server's messages, into one buffer |
//! | `input` | the receive buffer |
//! | `stream` | what a transport has to do, and one in memory |
//! | `tls` | encryption, and how a connection comes to it |
//! | `peer` | the client as its session sees it |
//! | `dialogue` | the messages of a session as they come |
//! | `door` | how many are let in, and who waits |
//! | `seat` | whose session a client talks to |
//! | `conversation` | the loop between the two, awake and asleep |
//! | `connection` | a connection from its first byte to its last, or to its move to another core |
//!
//! Invariants: no byte sequence of a client makes anything here panic; nothing is decoded before its frame is complete and its
//! length checked; memory held for a connection follows what its client has really sent.

pub mod authentication;
pub mod connection;
mod conversation;
mod dialogue;
pub mod door;
pub mod encode;
pub mod framer;
mod input;
pub mod message;
mod peer;
mod seat;
pub mod startup;
pub mod stream;
pub mod tls;

pub use connection::{Admission, Exit, Moving, Services, refuse, resume, serve};

#[cfg(test)]
mod tests;
