//! TLS on PostgreSQL's protocol: rustls as a state machine that bytes go into and bytes come out of, driven over the core's own streams.
//!
//! | module | role |
//! |---|---|
//! | `acceptor` | what a server has for it: certificate, key, authorities, the lowest version; and its exchange for another |
//! | `certificate` | what is read of certificates: names, and the hash that channel binding binds to |
//! | `records` | one connection's TLS: records in, plain bytes out, and the other way round |
//! | `secured` | a stream that may be encrypted |
//! | `negotiation` | how a connection comes to be |
//!
//! **Idea.** rustls' unbuffered interface reads and writes memory, not sockets: so there is no second runtime, no thread and no lock, and
//! a connection's TLS is one `Send` box that hops between cores with its session. The public-key work of a handshake (a signature of RSA
//! takes a millisecond and more) is done on the core's helper thread, so that a storm of handshakes does not hold up those that are
//! connected.
//!
//! Source: PostgreSQL 15 documentation, 55.2.10 "SSL Session Encryption"; PostgreSQL 17's for direct TLS; RFC 5929 for channel binding.
//! As in PostgreSQL there is no resumption of sessions and no renegotiation. Compression, early data and tickets do not exist here.
//!
//! Invariants: nothing that came in the clear is taken for something that came encrypted (CVE-2021-23222); what a handshake holds in
//! memory is bounded by what one message of it may have (64 KiB); a handshake ends with the client's time to start; a stream on which a
//! write was given up is not written to again, since nobody knows how much of a record is out.

mod acceptor;
mod certificate;
pub(super) mod negotiation;
mod records;
mod secured;
#[cfg(test)]
mod tests;

pub use acceptor::{Acceptor, Door, Pem};
pub use records::Tls;
pub use secured::Secured;
