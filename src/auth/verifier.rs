//! What is stored of a password: PostgreSQL's SCRAM-SHA-256 verifier. It proves a client's knowledge of the password without
//! being of use to log in.
//!
//! Its text is `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, base64 (PostgreSQL 15 documentation, 53.8
//! `pg_authid`); the keys are those of RFC 5802, section 3, with the hash of RFC 7677.
//!
//! Deriving one takes thousands of HMACs on purpose. A core serves others as well, so the derivation can be done in pieces
//! ([`Derivation::advance`]); checking a client's proof takes two HMACs and one hash.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::auth::saslprep;

/// Bytes of SHA-256.
pub const KEY_BYTES: usize = 32;
/// Bytes of the salts made here.
pub const SALT_BYTES: usize = 16;
/// Iterations when nobody says.
pub const ITERATIONS_DEFAULT: u32 = 10_000;
/// PostgreSQL's limit of its setting of the same name, `INT_MAX`.
pub const ITERATIONS_MAX: u32 = i32::MAX.cast_unsigned();
/// A verifier's salt may have been made elsewhere; a longer one than this was not made for this purpose.
const SALT_BYTES_MAX: usize = 1024;

const PREFIX: &str = "SCRAM-SHA-256$";

/// A hash.
pub type Key = [u8; KEY_BYTES];

/// What is stored of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// Iterations of the derivation.
    pub iterations: u32,
    /// Its salt.
    pub salt: Box<[u8]>,
    /// H(ClientKey): what a client's proof is checked against.
    pub stored_key: Key,
    /// What this server proves with that it knows the verifier.
    pub server_key: Key,
}

/// HMAC-SHA-256 of the parts, one after the other.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = keyed(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// SHA-256.
pub fn hash(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

impl Verifier {
    /// Reads a verifier's text; `None` if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|count| (1..=ITERATIONS_MAX).contains(count))?;
        let key = |text: &str| BASE64.decode(text).ok().and_then(|bytes| Key::try_from(bytes).ok());
        let salt = BASE64.decode(salt).ok().filter(|salt| (1..=SALT_BYTES_MAX).contains(&salt.len()))?;
        Some(Self { iterations, salt: salt.into(), stored_key: key(stored_key)?, server_key: key(server_key)? })
    }

    /// Its text, as the catalog keeps it.
    pub fn to_text(&self) -> String {
        let [salt, stored, server] = [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        format!("{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }

    /// Of a password, at one go.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let mut derivation = Derivation::new(password, salt, iterations);
        while !derivation.advance(u32::MAX) {}
        derivation.finish()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} iterations)", self.iterations)
    }
}

/// A verifier in the making.
pub struct Derivation {
    mac: Hmac<Sha256>,
    salt: Box<[u8]>,
    iterations: u32,
    left: u32,
    /// U_i of RFC 5802's `Hi`.
    block: Key,
    /// U_1 XOR … XOR U_i.
    sum: Key,
}

impl Derivation {
    /// Of a password, which is prepared with SASLprep first.
    pub fn new(password: &str, salt: &[u8], iterations: u32) -> Self {
        assert!(iterations >= 1, "the first iteration makes the block");
        let mac = keyed(saslprep(password).as_bytes());
        let mut first = mac.clone();
        first.update(salt);
        first.update(&1u32.to_be_bytes());
        let block: Key = first.finalize().into_bytes().into();
        Self { mac, salt: salt.into(), iterations, left: iterations - 1, block, sum: block }
    }

    /// Does at most so many iterations; `true` when there are none left.
    pub fn advance(&mut self, rounds: u32) -> bool {
        let rounds = rounds.min(self.left);
        for _ in 0..rounds {
            let mut next = self.mac.clone();
            next.update(&self.block);
            self.block = next.finalize().into_bytes().into();
            self.sum.iter_mut().zip(self.block).for_each(|(sum, byte)| *sum ^= byte);
        }
        self.left -= rounds;
        self.left == 0
    }

    /// The verifier, once nothing is left to do.
    pub fn finish(self) -> Verifier {
        assert_eq!(self.left, 0, "a derivation is used when it is done");
        let stored_key = hash(&hmac(&self.sum, &[b"Client Key"]));
        let server_key = hmac(&self.sum, &[b"Server Key"]);
        Verifier { iterations: self.iterations, salt: self.salt, stored_key, server_key }
    }
}

/// Whether a text is a verifier of PostgreSQL's older kind: `md5` and 32 hexadecimal digits.
pub fn is_md5(text: &str) -> bool {
    let digits = |rest: &str| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    text.strip_prefix("md5").is_some_and(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3: user `user`, password `pencil`.
    fn pencil() -> Verifier {
        Verifier::derive("pencil", &BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096)
    }

    #[test]
    fn a_verifier_is_postgresqls() {
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                    wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(pencil().to_text(), text);
        assert_eq!(Verifier::parse(text), Some(pencil()));
        assert!(!format!("{:?}", pencil()).contains("WG5d"), "keys are not printed");
    }

    #[test]
    fn pieces_make_the_same_as_one_go() {
        let mut derivation = Derivation::new("pencil", &pencil().salt, 4096);
        let mut turns = 1;
        while !derivation.advance(100) {
            turns += 1;
        }
        assert_eq!((turns, derivation.finish()), (41, pencil()));
        assert_eq!(Verifier::derive("x", b"y", 1).iterations, 1);
    }

    #[test]
    fn what_is_no_verifier_is_a_password() {
        let good = pencil().to_text();
        for end in 0..good.len() {
            assert_eq!(Verifier::parse(&good[..end]), None, "{end}");
        }
        for (from, to) in
            [("4096", "0"), ("4096", "4294967295"), ("4096", "x"), ("-256$", "-512$"), ("W22Z", "W22"), (":wf", ":wfAA")]
        {
            assert_eq!(Verifier::parse(&good.replace(from, to)), None, "{to}");
        }
        assert!(
            is_md5("md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") && !is_md5("md5abc") && !is_md5("md5AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        );
    }
}
