//! A prepared transaction as durable rows.
//!
//! What PREPARE TRANSACTION promises is kept as rows of a system storage of its own: an ordinary transaction inserts them, so
//! they are logged, checkpointed, recovered and dealt to another number of cores like every other row, and a prepared
//! transaction has no record kind, no hold on the log and no part in the cut. The commit that decides it deletes them: COMMIT
//! PREPARED in the very commit of the prepared writes, ROLLBACK PREPARED in a commit that does nothing else. So a prepared
//! transaction is undecided exactly as long as its rows are there, on all cores at once.
//!
//! The description is one run of bytes (drawn in `docs/storage-format.md`), cut into pieces that fit any log record and any
//! heap page. The rows of transaction n have the keys n · 2^24 + 0, 1, 2, …

use std::sync::Arc;

use crate::base::Oid;
use crate::storage::Key;
use crate::txn::prepared::{GID_BYTES_MAX, PreparedInfo};
use crate::txn::{LockStrength, TableLock};
use crate::wal::{Fields, WriteSet, Writes, put_counted};

/// Bytes of a description in one row.
const PIECE_BYTES: usize = 8 << 10;
/// Bits of a row's key that number the pieces of one transaction.
const PIECE_BITS: u32 = 24;

/// Strengths of row locks by their number in a description.
const STRENGTHS: [LockStrength; 4] =
    [LockStrength::KeyShare, LockStrength::Share, LockStrength::NoKeyUpdate, LockStrength::Update];

/// Everything that a restart has to bring back.
#[derive(Clone, Debug)]
pub struct Description {
    /// Who it is.
    pub info: Arc<PreparedInfo>,
    /// Its table locks.
    pub table_locks: Vec<(Oid, TableLock)>,
    /// Its row locks: the value of each is its strength.
    pub row_locks: WriteSet,
    /// Its writes.
    pub writes: WriteSet,
}

/// The value that stands for a row lock's strength.
pub(super) fn strength_value(strength: LockStrength) -> [u8; 1] {
    let number = STRENGTHS.iter().position(|known| *known == strength).expect("every strength is listed");
    [u8::try_from(number).expect("there are four")]
}

/// The strength that a value stands for.
pub(super) fn strength_of(value: Option<&[u8]>) -> Option<LockStrength> {
    let [number] = value? else { return None };
    STRENGTHS.get(usize::from(*number)).copied()
}

/// The key of a piece of transaction `number`; `None` if a description may not have as many.
pub(super) fn piece_key(number: u64, piece: usize) -> Option<Key> {
    let piece = i64::try_from(piece).ok().filter(|piece| *piece < 1 << PIECE_BITS)?;
    let number = i64::try_from(number).ok().filter(|number| *number < 1 << (63 - PIECE_BITS))?;
    Some(Key::Int(number << PIECE_BITS | piece))
}

/// The transaction and the piece that a key is of.
pub fn piece_of(key: i64) -> (u64, usize) {
    let key = key.cast_unsigned();
    (key >> PIECE_BITS, (key & ((1 << PIECE_BITS) - 1)) as usize)
}

impl Description {
    /// The rows that say all of it; `None` if there would be too many.
    pub(super) fn rows(&self) -> Option<Vec<(Key, Vec<u8>)>> {
        let bytes = self.encode();
        let pieces = bytes.chunks(PIECE_BYTES).enumerate();
        pieces.map(|(piece, bytes)| Some((piece_key(self.info.number, piece)?, bytes.to_vec()))).collect()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.writes.bytes() + self.row_locks.bytes() + 512);
        out.extend_from_slice(&self.info.prepared_micros.to_le_bytes());
        for text in [&self.info.gid, &self.info.owner, &self.info.database] {
            put_counted(&mut out, text.as_bytes());
        }
        out.extend_from_slice(&u32::try_from(self.table_locks.len()).expect("far below 2^32 tables").to_le_bytes());
        for (table, mode) in &self.table_locks {
            let mode = TableLock::ALL.iter().position(|known| known == mode).expect("every mode is listed");
            out.extend_from_slice(&table.0.to_le_bytes());
            out.push(u8::try_from(mode).expect("there are eight"));
        }
        for set in [&self.row_locks, &self.writes] {
            out.extend_from_slice(&u32::try_from(set.len()).expect("a WriteSet counts in u32").to_le_bytes());
            out.extend_from_slice(&(set.bytes() as u64).to_le_bytes());
            out.extend_from_slice(set.encoded());
        }
        out
    }

    /// The description of transaction `number`, whose pieces make up `bytes`; `None` if they are none.
    pub fn decode(number: u64, bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let prepared_micros = fields.i64()?;
        let text = |fields: &mut Fields<'_>| String::from_utf8(fields.take_counted()?.to_vec()).ok();
        let (gid, owner, database) = (text(&mut fields)?, text(&mut fields)?, text(&mut fields)?);
        if gid.len() > GID_BYTES_MAX {
            return None;
        }
        let mut table_locks = Vec::new();
        for _ in 0..fields.u32()? {
            let table = Oid(fields.u32()?);
            table_locks.push((table, *TableLock::ALL.get(usize::from(fields.u8()?))?));
        }
        let row_locks = take_set(&mut fields)?;
        let writes = take_set(&mut fields)?;
        if !fields.is_empty() || row_locks.iter().any(|lock| strength_of(lock.value).is_none()) {
            return None;
        }
        let info = Arc::new(PreparedInfo { number, gid, owner, database, prepared_micros });
        Some(Self { info, table_locks, row_locks, writes })
    }
}

fn take_set(fields: &mut Fields<'_>) -> Option<WriteSet> {
    let count = fields.u32()?;
    let bytes = usize::try_from(fields.u64()?).ok()?;
    let mut set = WriteSet::new();
    Writes::verified(fields.take(bytes)?, count)?.for_each(|write| set.push(write));
    Some(set)
}

/// Puts pieces, given in the order of their keys, together to descriptions. An error names the transaction that is damaged.
pub fn assemble(rows: impl IntoIterator<Item = (i64, Vec<u8>)>) -> Result<Vec<(Description, u32)>, String> {
    let mut whole: Vec<(u64, u32, Vec<u8>)> = Vec::new();
    for (key, bytes) in rows {
        let (number, piece) = piece_of(key);
        match whole.last_mut().filter(|last| last.0 == number) {
            Some(last) if last.1 as usize == piece => {
                last.1 += 1;
                last.2.extend_from_slice(&bytes);
            }
            None if piece == 0 => whole.push((number, 1, bytes)),
            _ => return Err(format!("a piece of prepared transaction {number} is missing")),
        }
    }
    let decode = |(number, pieces, bytes): (u64, u32, Vec<u8>)| {
        let found = Description::decode(number, &bytes);
        found.map(|found| (found, pieces)).ok_or_else(|| format!("prepared transaction {number} is described by damaged rows"))
    };
    whole.into_iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::StorageId;
    use crate::storage::KeyRef;
    use crate::wal::WriteRef;

    fn description(number: u64, row_bytes: usize) -> Description {
        let (storage, row) = (StorageId(20), vec![7; row_bytes]);
        let mut writes = WriteSet::new();
        writes.push(WriteRef { storage, key: KeyRef::Int(-1), value: Some(&row) });
        writes.push(WriteRef { storage, key: KeyRef::Bytes(b"k"), value: None });
        let mut row_locks = WriteSet::new();
        let value = strength_value(LockStrength::NoKeyUpdate);
        row_locks.push(WriteRef { storage, key: KeyRef::Int(3), value: Some(&value) });
        let info = PreparedInfo { number, gid: "ö".into(), owner: "o".into(), database: "d".into(), prepared_micros: -5 };
        Description { info: Arc::new(info), table_locks: vec![(Oid(5), TableLock::Exclusive)], row_locks, writes }
    }

    fn rows(description: &Description) -> Vec<(i64, Vec<u8>)> {
        let int = |key: Key| if let Key::Int(key) = key { key } else { unreachable!("pieces have integer keys") };
        description.rows().expect("not too many").into_iter().map(|(key, row)| (int(key), row)).collect()
    }

    #[test]
    fn descriptions_come_back_from_their_rows() {
        let all = [description(1, 10), description(2, 5 * PIECE_BYTES), description(9, PIECE_BYTES)];
        let stored: Vec<_> = all.iter().flat_map(rows).collect();
        assert!(stored.iter().all(|(_, row)| row.len() <= PIECE_BYTES));
        let found = assemble(stored).expect("sound");
        assert_eq!(found.iter().map(|(_, pieces)| *pieces).collect::<Vec<_>>(), [1, 6, 2]);
        for (wanted, (found, _)) in all.iter().zip(&found) {
            assert_eq!((&wanted.info, &wanted.table_locks), (&found.info, &found.table_locks));
            assert_eq!((&wanted.row_locks, &wanted.writes), (&found.row_locks, &found.writes));
        }
    }

    #[test]
    fn a_missing_piece_and_every_cut_are_noticed() {
        let stored = rows(&description(2, 3 * PIECE_BYTES));
        for missing in 0..stored.len() {
            let mut less = stored.clone();
            less.remove(missing);
            assert!(assemble(less).is_err(), "without piece {missing}");
        }
        let whole = rows(&description(3, 50)).remove(0).1;
        for len in 0..whole.len() {
            assert!(Description::decode(3, &whole[..len]).is_none(), "cut to {len}");
        }
        assert!(Description::decode(3, &whole).is_some());
    }
}
