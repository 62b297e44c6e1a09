//! The vocabulary of requests to the engine: what a read may see, which rows, and the row programs that are shipped to the
//! rows' owner so that a statement crosses cores once.

use std::sync::Arc;

use crate::base::{CommitTs, StorageId, TxnId};
use crate::error::SqlResult;
use crate::storage::Key;

/// What a statement sees: everything committed at or before `snapshot`, plus what its own transaction wrote in commands
/// before `command`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadView {
    /// The snapshot.
    pub snapshot: CommitTs,
    /// The transaction whose own writes are visible, if it has any.
    pub txn: Option<TxnId>,
    /// Own writes of commands below this one are visible.
    pub command: u32,
    /// Whether owners remember what is read, to validate it when the transaction commits (SERIALIZABLE).
    pub tracked: bool,
}

/// A predicate over row bytes (`types::row` layout), evaluated on the owner.
pub trait RowFilter: Send + Sync {
    /// Whether the row is wanted.
    fn matches(&self, row: &[u8]) -> SqlResult<bool>;
}

/// What an UPDATE or DELETE does to one row, evaluated on the owner on the newest version, and again after waiting for
/// another transaction (READ COMMITTED's re-evaluation, PostgreSQL 15 documentation 13.2.1).
pub trait RowUpdate: Send + Sync {
    /// Decides about `row`; a new row goes to `out.row`, whatever the statement needs back goes to `out.reply`.
    fn apply(&self, row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction>;

    /// Whether all it does to a row is to add to numbers, whatever they are: applied after other programs of which that is true, in
    /// whatever order and up to [`ADDERS_MAX`](super::ADDERS_MAX) of them, it replaces the row, fails nowhere, and has nothing to
    /// reply. `row` is the newest version.
    fn commutes(&self, _row: &[u8]) -> bool {
        false
    }

    /// Whether [`RowAction::Delete`] may mean that the row in `out.reply` is to be inserted under another key.
    fn may_move_rows(&self) -> bool {
        false
    }
}

/// Where a [`RowUpdate`] writes. Both buffers arrive empty.
#[derive(Clone, Debug, Default)]
pub struct RowOutput {
    /// The new row.
    pub row: Vec<u8>,
    /// Bytes for the caller: the row for RETURNING, or the new row of a key-changing update.
    pub reply: Vec<u8>,
}

/// A [`RowUpdate`]'s decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowAction {
    /// The row does not (or no longer) qualify: leave it.
    Skip,
    /// Replace it by `out.row`, under the same key.
    Replace,
    /// Delete it. A key-changing UPDATE deletes here and inserts `out.reply` under the new key.
    Delete,
}

/// A range of keys, ends inclusive or exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Lower end.
    pub lower: std::ops::Bound<Key>,
    /// Upper end.
    pub upper: std::ops::Bound<Key>,
}

impl KeyRange {
    /// All keys.
    pub fn all() -> Self {
        Self { lower: std::ops::Bound::Unbounded, upper: std::ops::Bound::Unbounded }
    }
}

/// What a scan reads.
#[derive(Clone)]
pub struct ScanSpec {
    /// Storage.
    pub storage: StorageId,
    /// Keys.
    pub range: KeyRange,
    /// Descending key order.
    pub reverse: bool,
    /// Rows to keep.
    pub filter: Option<Arc<dyn RowFilter>>,
    /// Stop after so many kept rows.
    pub limit: Option<u64>,
    /// Return keys with the rows (UPDATE and DELETE need them).
    pub with_keys: bool,
}

/// Rows on their way from an owner: one buffer, and where each row ends.
#[derive(Clone, Debug, Default)]
pub struct RowBatch {
    bytes: Vec<u8>,
    /// For each entry the end of its bytes, `None` for "no such row" in a batched point read.
    entries: Vec<Option<u32>>,
    keys: Vec<Key>,
}

impl RowBatch {
    /// Appends a row.
    pub fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        let end = u32::try_from(self.bytes.len()).expect("a batch is bounded far below 4 GiB");
        self.entries.push(Some(end));
    }

    /// Appends "no such row".
    pub fn push_missing(&mut self) {
        self.entries.push(None);
    }

    /// Appends a row with its key.
    pub fn push_keyed(&mut self, key: Key, row: &[u8]) {
        self.push(row);
        self.keys.push(key);
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all rows.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Entries in order; `None` where there was no such row.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            entry.map(|end| {
                let row = &self.bytes[start..end as usize];
                start = end as usize;
                row
            })
        })
    }

    /// Keys, one a row, where they were asked for.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Empties it, keeping the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.keys.clear();
    }
}
