//! Owned memcomparable byte strings, the keys of everything that is not an integer.
//!
//! Up to 22 bytes live in the key itself, which covers a uuid and a composite of two integers with their null flags; longer
//! keys own a heap block. Order is the order of the bytes.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use super::key::IndexKey;

/// Longest key that needs no heap block.
const INLINE_LEN_MAX: usize = 22;

/// An owned byte string ordered as its bytes are. 24 bytes; inline up to 22.
#[derive(Clone)]
pub struct KeyBytes(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_LEN_MAX] },
    Heap(Box<[u8]>),
}

impl KeyBytes {
    /// A key with a copy of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        if bytes.len() <= INLINE_LEN_MAX {
            let mut inline = [0; INLINE_LEN_MAX];
            inline[..bytes.len()].copy_from_slice(bytes);
            Self(Repr::Inline { len: bytes.len() as u8, bytes: inline })
        } else {
            Self(Repr::Heap(bytes.into()))
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl Default for KeyBytes {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Deref for KeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for KeyBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Borrow<[u8]> for KeyBytes {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl From<&[u8]> for KeyBytes {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl From<Vec<u8>> for KeyBytes {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.len() <= INLINE_LEN_MAX { Self::new(&bytes) } else { Self(Repr::Heap(bytes.into_boxed_slice())) }
    }
}

impl PartialEq for KeyBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for KeyBytes {}

impl PartialOrd for KeyBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl std::hash::Hash for KeyBytes {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x'")?;
        for byte in self.as_slice() {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "'")
    }
}

impl IndexKey for KeyBytes {
    type View = [u8];
    type Ref<'a> = &'a [u8];

    fn view(&self) -> &[u8] {
        self.as_slice()
    }

    fn from_view(view: &[u8]) -> Self {
        Self::new(view)
    }

    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }

    fn ref_view<'a>(key: &'a &[u8]) -> &'a [u8] {
        key
    }

    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Heap(bytes) => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_takes_24_bytes_and_keeps_its_bytes_at_every_length() {
        assert_eq!(size_of::<KeyBytes>(), 24);
        for len in 0..64 {
            let bytes: Vec<u8> = (0..len).collect();
            let key = KeyBytes::new(&bytes);
            assert_eq!(key.as_slice(), bytes);
            assert_eq!(KeyBytes::from(bytes.clone()), key);
            assert_eq!(key.heap_bytes(), if bytes.len() > INLINE_LEN_MAX { bytes.len() } else { 0 });
        }
    }

    #[test]
    fn order_is_the_order_of_the_bytes() {
        let mut keys: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0, 0], vec![1], vec![255; 22], vec![255; 23], vec![7; 40]];
        keys.sort();
        let mut owned: Vec<KeyBytes> = keys.iter().rev().map(|key| KeyBytes::new(key)).collect();
        owned.sort();
        assert!(owned.iter().map(|key| key.as_slice()).eq(keys.iter().map(Vec::as_slice)));
    }
}
