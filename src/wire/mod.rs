//! PostgreSQL's frontend/backend protocol, version 3: bytes in, bytes out.
//!
//! | module | role |
//! |---|---|
//! | `framer` | cuts the stream into whole messages of possible lengths |
//! | `message` | the client's messages as borrowed views |
//! | `startup` | what comes before the first statement |
//! | `encode` | the server's messages, into one buffer |
//!
//! Invariants: no byte sequence of a client makes anything here panic; nothing is decoded before its frame is complete and its
//! length checked; memory held for a connection follows what its client has really sent.

pub mod encode;
pub mod framer;
pub mod message;
pub mod startup;
