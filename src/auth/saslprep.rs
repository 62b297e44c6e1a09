//! Passwords in the form in which both sides hash them.
//!
//! Source: RFC 4013 (SASLprep) and RFC 5802, 2.2; what is done with text that SASLprep prohibits after PostgreSQL's
//! `pg_be_scram_build_secret`: it is hashed as it is, so that any password can be used.

use std::borrow::Cow;

/// A password prepared with SASLprep, or as it is where SASLprep has no form for it.
pub fn saslprep(password: &str) -> Cow<'_, str> {
    stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_prepared() {
        // RFC 4013, section 3, and a prohibited character.
        for (given, prepared) in [
            ("I\u{ad}X", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u{aa}", "a"),
            ("\u{2168}", "IX"),
            ("a\u{7}b", "a\u{7}b"),
            ("x\u{a0}y", "x y"),
            ("", ""),
        ] {
            assert_eq!(saslprep(given), prepared, "{given:?}");
        }
    }
}
