//! A row's key within its storage.

use std::cmp::Ordering;

/// A key: an integer, or memcomparable bytes. One storage only ever holds one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A single integer-like primary key column, or the hidden row id.
    Int(i64),
    /// Composite, text, numeric, uuid … keys in their memcomparable encoding (`types::key`).
    Bytes(Box<[u8]>),
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::Int(a), Key::Int(b)) => a.cmp(b),
            (Key::Bytes(a), Key::Bytes(b)) => a.cmp(b),
            // A storage never mixes kinds; a total order keeps ordered containers of keys sound all the same.
            (Key::Int(_), Key::Bytes(_)) => Ordering::Less,
            (Key::Bytes(_), Key::Int(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Key {
    /// Heap bytes beyond the key itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Key::Int(_) => 0,
            Key::Bytes(bytes) => bytes.len(),
        }
    }
}

/// A borrowed key. Ordered as [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyRef<'a> {
    /// As `Key::Int`.
    Int(i64),
    /// As `Key::Bytes`.
    Bytes(&'a [u8]),
}

impl KeyRef<'_> {
    /// An owned copy.
    pub fn to_key(self) -> Key {
        match self {
            KeyRef::Int(value) => Key::Int(value),
            KeyRef::Bytes(bytes) => Key::Bytes(bytes.into()),
        }
    }
}

impl<'a> From<&'a Key> for KeyRef<'a> {
    fn from(key: &'a Key) -> Self {
        key.as_ref()
    }
}

impl Key {
    /// A borrowed view.
    pub fn as_ref(&self) -> KeyRef<'_> {
        match self {
            Key::Int(value) => KeyRef::Int(*value),
            Key::Bytes(bytes) => KeyRef::Bytes(bytes),
        }
    }

    /// The smallest key above this one, if the domain has one.
    pub fn successor(&self) -> Option<Key> {
        match self {
            Key::Int(value) => value.checked_add(1).map(Key::Int),
            Key::Bytes(bytes) => {
                let mut next = Vec::with_capacity(bytes.len() + 1);
                next.extend_from_slice(bytes);
                next.push(0);
                Some(Key::Bytes(next.into()))
            }
        }
    }
}

/// How a storage's keys look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// No primary key: a hidden 64-bit row id, `Key::Int`.
    RowId,
    /// One smallint, integer, bigint, date or timestamp column: `Key::Int`.
    Int,
    /// Anything else: memcomparable bytes, `Key::Bytes`.
    Bytes,
}
