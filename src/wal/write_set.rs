//! The writes of a transaction as the log and the checkpoint carry them: `(storage, key, value or delete)`.
//!
//! A [`WriteSet`] is the encoded form. A transaction pushes into its own set while it runs, so that committing copies bytes
//! that are already laid out; nothing else has to be remembered for the log. Layout in `docs/storage-format.md`.

use super::bytes::{Fields, put_counted};
use crate::base::StorageId;
use crate::storage::KeyRef;

/// One write, borrowed from a [`WriteSet`] or from a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteRef<'a> {
    /// Where.
    pub storage: StorageId,
    /// Which row.
    pub key: KeyRef<'a>,
    /// The new row, or `None` for a delete.
    pub value: Option<&'a [u8]>,
}

/// Set in a write's tag byte when the key is bytes rather than an integer.
const TAG_KEY_BYTES: u8 = 1;
/// Set in a write's tag byte when there is a value.
const TAG_VALUE: u8 = 2;

impl<'a> WriteRef<'a> {
    /// Bytes this write takes in a log record.
    pub fn encoded_bytes(&self) -> usize {
        let key = match self.key {
            KeyRef::Int(_) => 8,
            KeyRef::Bytes(bytes) => 4 + bytes.len(),
        };
        4 + 1 + key + self.value.map_or(0, |value| 4 + value.len())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut tag = 0;
        if matches!(self.key, KeyRef::Bytes(_)) {
            tag |= TAG_KEY_BYTES;
        }
        if self.value.is_some() {
            tag |= TAG_VALUE;
        }
        out.extend_from_slice(&self.storage.0.to_le_bytes());
        out.push(tag);
        match self.key {
            KeyRef::Int(value) => out.extend_from_slice(&value.to_le_bytes()),
            KeyRef::Bytes(bytes) => put_counted(out, bytes),
        }
        if let Some(value) = self.value {
            put_counted(out, value);
        }
    }

    /// The write at the front of `fields`, or `None` if the bytes are not one.
    pub(crate) fn decode(fields: &mut Fields<'a>) -> Option<Self> {
        let storage = StorageId(fields.u32()?);
        let tag = fields.u8()?;
        if tag & !(TAG_KEY_BYTES | TAG_VALUE) != 0 {
            return None;
        }
        let key = if tag & TAG_KEY_BYTES == 0 { KeyRef::Int(fields.i64()?) } else { KeyRef::Bytes(fields.take_counted()?) };
        let value = if tag & TAG_VALUE == 0 { None } else { Some(fields.take_counted()?) };
        Some(Self { storage, key, value })
    }
}

/// Writes in their encoded form, in the order they were made. Reusable: `clear` keeps the allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteSet {
    encoded: Vec<u8>,
    count: u32,
}

impl WriteSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a write at the end.
    pub fn push(&mut self, write: WriteRef<'_>) {
        let before = self.encoded.len();
        write.encode(&mut self.encoded);
        assert_eq!(self.encoded.len() - before, write.encoded_bytes(), "the size estimate is what reservations rest on");
        self.count = self.count.checked_add(1).expect("a write takes at least 13 bytes and a set stays below 4 GiB");
    }

    /// The number of writes.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no write.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Encoded bytes.
    pub fn bytes(&self) -> usize {
        self.encoded.len()
    }

    /// Forgets all writes and keeps the allocation.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.count = 0;
    }

    /// Forgets the writes after the first `count`, which take `bytes` (both as `len` and `bytes` answered then). This is how a
    /// rollback to a savepoint undoes the set.
    pub fn truncate(&mut self, count: usize, bytes: usize) {
        assert!(count <= self.len() && bytes <= self.encoded.len(), "a savepoint lies in the past");
        self.encoded.truncate(bytes);
        self.count = u32::try_from(count).expect("not above the present count, which is a u32");
        assert!(self.count > 0 || self.encoded.is_empty());
    }

    /// The writes in the order they were pushed.
    pub fn iter(&self) -> Writes<'_> {
        Writes { fields: Fields::new(&self.encoded), left: self.count }
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

impl<'a> IntoIterator for &'a WriteSet {
    type Item = WriteRef<'a>;
    type IntoIter = Writes<'a>;

    fn into_iter(self) -> Writes<'a> {
        self.iter()
    }
}

/// The writes of a set or of a verified record, without copying.
#[derive(Clone, Debug)]
pub struct Writes<'a> {
    fields: Fields<'a>,
    left: u32,
}

impl<'a> Writes<'a> {
    /// The `count` writes that `encoded` consists of; `None` unless it is exactly that. Walks all of it once, so that
    /// iterating afterwards cannot fail.
    pub(crate) fn verified(encoded: &'a [u8], count: u32) -> Option<Self> {
        let mut fields = Fields::new(encoded);
        for _ in 0..count {
            WriteRef::decode(&mut fields)?;
        }
        fields.is_empty().then_some(Self { fields: Fields::new(encoded), left: count })
    }
}

impl<'a> Iterator for Writes<'a> {
    type Item = WriteRef<'a>;

    fn next(&mut self) -> Option<WriteRef<'a>> {
        if self.left == 0 {
            assert!(self.fields.is_empty(), "the count covers every byte");
            return None;
        }
        self.left -= 1;
        Some(WriteRef::decode(&mut self.fields).expect("pushed by WriteSet or verified when the record was decoded"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Writes<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncating_undoes_what_was_pushed_after_a_savepoint() {
        let mut set = WriteSet::new();
        set.push(WriteRef { storage: StorageId(1), key: KeyRef::Int(7), value: Some(b"seven") });
        let (count, bytes) = (set.len(), set.bytes());
        let kept = set.clone();
        set.push(WriteRef { storage: StorageId(2), key: KeyRef::Bytes(b"k"), value: None });
        assert_eq!(set.iter().len(), 2);
        set.truncate(count, bytes);
        assert_eq!(set, kept);
        assert_eq!(set.iter().next().expect("one left").value, Some(&b"seven"[..]));
    }
}
