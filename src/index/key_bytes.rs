//! Owned memcomparable byte strings, the keys of everything that is not an integer.
//!
//! Up to 22 bytes live in the key itself, which covers a uuid and a composite of two integers with their null flags; longer
//! keys own a heap block. Order is the order of the bytes.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use super::key::IndexKey;
use super::search;

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
    type Digest = u64;
    type Rest = KeyBytes;
    type Mark = u8;
    const EXACT: bool = false;

    fn view(&self) -> &[u8] {
        self.as_slice()
    }

    fn from_view(view: &[u8]) -> Self {
        Self::new(view)
    }

    fn ref_view<'a>(key: &'a Self::Ref<'_>) -> &'a [u8] {
        key
    }

    /// Seven bytes, zeros behind the end, then how many of them the key really has (8 for more than seven): a key and the
    /// same key with a zero byte behind it differ, so that keys with equal digests always share seven bytes more.
    #[inline]
    fn digest(view: &[u8], skip: usize) -> u64 {
        let tail = view.get(skip..).unwrap_or(&[]);
        if let Some(head) = tail.first_chunk::<8>() {
            return u64::from_be_bytes(*head) & !0xFF | 8;
        }
        let mut head = [0; 8];
        head[..tail.len()].copy_from_slice(tail);
        u64::from_be_bytes(head) & !0xFF | tail.len() as u64
    }

    #[inline]
    fn mark(view: &[u8]) -> u8 {
        // The golden ratio's bits, as in Fibonacci hashing.
        let mix = |hash: u64, word: u64| {
            let hash = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            hash ^ hash >> 32
        };
        let (words, tail) = view.as_chunks::<8>();
        let hash = words.iter().fold(view.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        (mix(hash, u64::from_le_bytes(last)) >> 24) as u8
    }

    fn into_rest(self) -> KeyBytes {
        self
    }

    fn key_ref(_digest: u64, rest: &KeyBytes) -> &[u8] {
        rest.as_slice()
    }

    #[inline]
    fn compare_rest(rest: &KeyBytes, view: &[u8]) -> Ordering {
        rest.as_slice().cmp(view)
    }

    #[inline]
    fn prefetch_rest(rest: &KeyBytes) {
        if let Repr::Heap(bytes) = &rest.0 {
            search::prefetch(&bytes[0]);
            search::prefetch(&bytes[bytes.len() - 1]);
        }
    }

    fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
        a.iter().zip(b).take_while(|(a, b)| a == b).count()
    }

    #[inline]
    fn compare_prefix(key: &[u8], sample: &[u8], skip: usize) -> Ordering {
        key[..key.len().min(skip)].cmp(&sample[..skip])
    }

    fn rest_heap_bytes(rest: &KeyBytes) -> usize {
        match &rest.0 {
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
            assert_eq!(KeyBytes::rest_heap_bytes(&key), if bytes.len() > INLINE_LEN_MAX { bytes.len() } else { 0 });
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
