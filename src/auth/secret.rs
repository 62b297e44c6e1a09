//! Text that must not be shown: whoever prints the structure that holds it sees that there is something, not what.

use std::fmt;

/// A password as it was given.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever must have it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("opensesame");
        assert!(!format!("{secret:?} {:#?}", Some(&secret)).contains("sesame"));
        assert_eq!(secret.expose(), "opensesame");
    }
}
