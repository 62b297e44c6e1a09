//! A reader of SCRAM's messages: attributes of one letter, with values, separated by commas.

use crate::auth::exchange::{malformed, shown};
use crate::error::SqlResult;

/// A place in a message.
pub(super) struct Reader<'a> {
    message: &'a [u8],
    next: usize,
}

impl<'a> Reader<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self { message, next: 0 }
    }

    /// How much has been read.
    pub fn position(&self) -> usize {
        self.next
    }

    pub fn rest(&self) -> &'a [u8] {
        &self.message[self.next..]
    }

    pub fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    pub fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.next += 1;
        Some(byte)
    }

    pub fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.next += usize::from(found);
        found
    }

    /// The value of the attribute that must come next, and the comma behind it.
    pub fn value(&mut self, attribute: u8) -> SqlResult<&'a [u8]> {
        let name = char::from(attribute);
        if !self.accept(attribute) {
            return Err(malformed(format!("Expected attribute \"{name}\" but found \"{}\".", shown(self.peek()))));
        }
        self.value_of(name)
    }

    /// Any attribute.
    pub fn any(&mut self) -> SqlResult<(u8, &'a [u8])> {
        let Some(attribute) = self.peek() else {
            return Err(malformed("Attribute expected, but found end of string."));
        };
        if !attribute.is_ascii_alphabetic() {
            return Err(malformed(format!("Attribute expected, but found invalid character \"{}\".", shown(Some(attribute)))));
        }
        self.next += 1;
        Ok((attribute, self.value_of(char::from(attribute))?))
    }

    fn value_of(&mut self, name: char) -> SqlResult<&'a [u8]> {
        if !self.accept(b'=') {
            return Err(malformed(format!("Expected character \"=\" for attribute \"{name}\".")));
        }
        let rest = self.rest();
        let length = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
        self.next += length;
        self.accept(b',');
        Ok(&rest[..length])
    }
}
