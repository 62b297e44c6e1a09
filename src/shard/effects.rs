//! What a transaction has done on one core, told for a description of it and brought back from one.

use crate::base::TxnId;
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::prepared::{strength_of, strength_value};
use crate::shard::state::Shard;
use crate::shard::two_phase::Effects;
use crate::txn::{LockStrength, WriteRef};
use crate::wal::WriteRef as LogWrite;

/// Encoded bytes of writes told at once, unless a single one takes more.
const SLICE_BYTES: usize = 64 << 10;
/// Row locks told at once.
const SLICE_LOCKS: usize = 512;

impl Shard {
    /// A part of what a transaction has done here: its writes, and behind them its row locks, from position `from` on.
    pub(super) fn effects_of(&self, txn: TxnId, from: usize) -> Effects {
        let mut effects = Effects::default();
        let Some(slot) = self.txns.find(txn) else { return effects };
        let entry = self.txns.get(slot);
        let (writes, locks) = (entry.writes.len(), &entry.locks);
        let reached = if from < writes {
            self.collect_writes(slot, from, SLICE_BYTES, &mut effects.writes)
        } else {
            let slice = locks.iter().skip(from - writes).take(SLICE_LOCKS);
            for lock in slice.clone() {
                // A row that was added to has an intent since it was settled, and no lock besides.
                let Some(held) = self.row_locks.held(lock.storage, &lock.key, slot) else { continue };
                let value = strength_value(held);
                effects.row_locks.push(LogWrite { storage: lock.storage, key: (&lock.key).into(), value: Some(&value) });
            }
            from + slice.len()
        };
        effects.next = (reached < writes + locks.len()).then_some(reached);
        effects
    }

    /// Has a recovered transaction's intents and row locks again. Memory is counted and not refused: it was granted before.
    pub(super) fn restore_effects(&mut self, txn: TxnId, effects: &Effects) -> EngineResult<()> {
        let slot = self.txns.slot_of(txn);
        for write in &effects.writes {
            let (storage, key) = (write.storage, write.key.to_key());
            let tablet = self.tablet_mut(storage, &key).ok_or(EngineError::StorageGone(storage))?;
            tablet.place_intent(&key, slot, 0, write.value)?;
            let entry = self.txns.get_mut(slot);
            entry.log_bytes += write.encoded_bytes();
            entry.writes.push(WriteRef { storage, key: key.clone(), command: 0 });
            self.split_if_large(storage, &key);
        }
        for lock in &effects.row_locks {
            let (storage, key) = (lock.storage, lock.key.to_key());
            let strength: LockStrength = strength_of(lock.value).ok_or(EngineError::Internal("a row lock without strength"))?;
            self.row_locks.grant(storage, &key, (slot, txn), strength, 0);
            self.txns.get_mut(slot).locks.push(WriteRef { storage, key, command: 0 });
        }
        self.count_memory();
        Ok(())
    }
}
