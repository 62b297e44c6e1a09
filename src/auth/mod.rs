//! Who a client is: what proves it, and what is kept to check the proof. Pure: no sockets, no catalog, no clock.
//!
//! | module | role |
//! |---|---|
//! | `secret` | text that must not be shown |
//! | `saslprep` | passwords as SCRAM wants them |
//! | `verifier` | what is stored of a password |
//! | `exchange` | the server's side of SCRAM-SHA-256 |
//! | `hba` | who may connect from where, and how it is asked for proof |
//! | `attempts` | failed logins by address |
//! | `token` | bearer tokens of the HTTP control plane |
//!
//! Why not the `scram` crate for the server's side: its provider hands out the *salted password*, with which one can log in, where
//! PostgreSQL's verifier keeps StoredKey and ServerKey; it answers unknown users with an error of their own instead of an exchange
//! that fails at its end; it knows no channel binding and refuses the `y` flag that libpq sends over TLS; it compares proofs byte
//! by byte, and slices short fields without looking. Its client is used by the tests, as somebody who has read the same RFC.

mod attempts;
mod exchange;
pub mod hba;
mod saslprep;
mod secret;
mod token;
mod verifier;

pub use attempts::Attempts;
pub use exchange::{Account, Exchange, MECHANISM, MECHANISM_PLUS, MESSAGE_BYTES_MAX, Reply};
pub use saslprep::saslprep;
pub use secret::Secret;
pub use token::TokenKey;
/// Bytes from the operating system's generator.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's random numbers do not run out after it has started");
    bytes
}

pub use verifier::{Derivation, ITERATIONS_DEFAULT, ITERATIONS_MAX, SALT_BYTES, Verifier, is_md5};
