//! Bearer tokens of the HTTP control plane: a user, an end, and a code that only this server can make.
//!
//! `<base64url of "user\0expires">.<base64url of HMAC-SHA-256>`. Nothing is stored. The code also covers what proves the user's identity
//! (the stored verifier), so that a new password, or none any more, ends all tokens of the old one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use subtle::ConstantTimeEq;

use super::verifier::{Key, hmac};

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 1024;

/// The key that tokens are made with.
pub struct TokenKey(Key);

impl TokenKey {
    /// The key that follows from the database's secret.
    pub fn derive(secret: &[u8]) -> Self {
        Self(hmac(secret, &[b"bearer tokens of the control plane"]))
    }

    fn code(&self, claims: &[u8], proof: &[u8]) -> Key {
        hmac(&self.0, &[&(claims.len() as u64).to_be_bytes(), claims, proof])
    }

    /// A token for `user` until `expires` (Unix seconds), who is known by `proof`.
    pub fn issue(&self, user: &str, expires: u64, proof: &[u8]) -> String {
        let claims = format!("{user}\0{expires}");
        let code = self.code(claims.as_bytes(), proof);
        format!("{}.{}", BASE64.encode(&claims), BASE64.encode(code))
    }

    /// The user of a token that is good at `now` (Unix seconds). `proof_of` gives what a user is known by now.
    pub fn verify(&self, token: &str, now: u64, proof_of: impl FnOnce(&str) -> Option<Vec<u8>>) -> Option<String> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (claims, code) = token.split_once('.')?;
        let (claims, code) = (BASE64.decode(claims).ok()?, BASE64.decode(code).ok()?);
        let (user, expires) = std::str::from_utf8(&claims).ok()?.split_once('\0')?;
        let good = bool::from(self.code(&claims, &proof_of(user)?).ct_eq(&code[..]));
        (good && now < expires.parse().ok()?).then(|| user.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_its_end_and_for_its_user_and_proof_only() {
        let key = TokenKey::derive(b"secret");
        let token = key.issue("alice", 1_000, b"proof");
        let proof = |_: &str| Some(b"proof".to_vec());
        assert_eq!(key.verify(&token, 999, proof).as_deref(), Some("alice"));
        assert_eq!(key.verify(&token, 1_000, proof), None, "it has ended");
        assert_eq!(key.verify(&token, 1, |_| Some(b"another password".to_vec())), None);
        assert_eq!(key.verify(&token, 1, |_| None), None, "the user is gone");
        assert_eq!(TokenKey::derive(b"other").verify(&token, 1, proof), None);
        let (_, code) = token.split_once('.').expect("it has two parts");
        for forged in [format!("{}.{code}", BASE64.encode("alice\x009999")), format!("{}.{code}", BASE64.encode("bob\x001000"))] {
            assert_eq!(key.verify(&forged, 1, proof), None);
        }
        for nonsense in ["", ".", "a.b", "\u{fffd}.x", &"a".repeat(5_000)] {
            assert_eq!(key.verify(nonsense, 1, proof), None);
        }
    }
}
