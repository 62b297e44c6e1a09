//! A SERIALIZABLE workload that snapshot isolation gets wrong: of two people somebody must be on duty. Whoever sees both there
//! may leave; two who leave at once, each seeing the other, are a write skew. Being on duty is a row, so what has to be noticed is
//! also that rows appear and go.

use std::ops::Bound;
use std::sync::Arc;

use crate::base::StorageId;
use crate::error::SqlResult;
use crate::runtime;
use crate::shard::{
    Engine, EngineError, EngineResult, KeyRange, ReadView, RowAction, RowOutput, RowUpdate, ScanSpec, Txn, engine,
};
use crate::storage::Key;
use crate::txn::Isolation;

/// Pairs of people.
pub const PAIRS: i64 = 6;

/// Who is on duty: a storage for the first of each pair and one for the second, on different cores.
#[derive(Clone, Copy, Debug)]
pub struct Duty {
    pub people: [StorageId; 2],
}

struct Leave;

impl RowUpdate for Leave {
    fn apply(&self, _row: &[u8], _out: &mut RowOutput) -> SqlResult<RowAction> {
        Ok(RowAction::Delete)
    }
}

impl Duty {
    /// The rows that both storages begin with.
    pub fn rows() -> Vec<(Key, Vec<u8>)> {
        (0..PAIRS).map(|pair| (Key::Int(pair), vec![1])).collect()
    }

    /// One change of duty. Whether it was acknowledged.
    pub async fn change(&self) -> Result<bool, String> {
        let engine = engine();
        // Now and then at another level: its writes have to mind the guards, too. It only comes, so it cannot break the rule.
        let comes = runtime::random_u64().is_multiple_of(8);
        let isolation = if comes { Isolation::ReadCommitted } else { Isolation::Serializable };
        let mut txn = engine.begin(isolation, false);
        let pair = (runtime::random_u64() % PAIRS as u64) as i64;
        match self.write_change(&engine, &mut txn, pair, comes).await {
            Ok(()) => match engine.commit(txn).await {
                Ok(_) => Ok(true),
                Err(EngineError::ReadConflict | EngineError::DiskFull) => Ok(false),
                Err(error) => Err(format!("a change of duty was not committed: {error:?}")),
            },
            Err(error) => {
                engine.abort(txn).await;
                match error {
                    EngineError::SerializationFailure
                    | EngineError::ReadConflict
                    | EngineError::Deadlock { .. }
                    | EngineError::DuplicateKey { .. } => Ok(false),
                    other => Err(format!("a change of duty failed: {other:?}")),
                }
            }
        }
    }

    async fn write_change(&self, engine: &Engine, txn: &mut Txn, pair: i64, comes: bool) -> EngineResult<()> {
        let who = (runtime::random_u64() % 2) as usize;
        let both = if comes {
            false
        } else {
            let view = engine.read_view(Some(txn));
            let _pin = engine.pin(&view);
            self.on_duty(engine, &view, 0, pair).await? && self.on_duty(engine, &view, 1, pair).await?
        };
        let view = engine.write_view(txn);
        let (storage, key) = (self.people[who], Key::Int(pair));
        if both {
            engine.modify(txn, &view, storage, key, Arc::new(Leave)).await.map(drop)
        } else {
            engine.insert(txn, &view, storage, vec![(key, vec![1])]).await
        }
    }

    /// Whether a person is on duty: by key, or as a scan finds it.
    async fn on_duty(&self, engine: &Engine, view: &ReadView, who: usize, pair: i64) -> EngineResult<bool> {
        let (storage, key) = (self.people[who], Key::Int(pair));
        if runtime::random_u64().is_multiple_of(2) {
            if let Some(found) = engine.try_point_read(view, storage, &key, |row| row.is_some()) {
                return Ok(found);
            }
            return Ok(engine.get_many(view, storage, vec![key]).await?.iter().flatten().count() > 0);
        }
        let range = KeyRange { lower: Bound::Excluded(Key::Int(pair - 1)), upper: Bound::Included(key) };
        let reverse = runtime::random_u64().is_multiple_of(2);
        let spec = ScanSpec { storage, range, reverse, filter: None, limit: Some(1), with_keys: false };
        let mut cursor = engine.scan(*view, spec);
        let mut rows = 0;
        while let Some(batch) = cursor.next().await? {
            rows += batch.len();
        }
        Ok(rows > 0)
    }

    /// Somebody of each pair is on duty, whenever one looks.
    pub async fn check(&self, engine: &Engine, view: &ReadView) -> Result<(), String> {
        let keys = || (0..PAIRS).map(Key::Int).collect::<Vec<_>>();
        let mut present = Vec::new();
        for storage in self.people {
            let rows = engine.get_many(view, storage, keys()).await.map_err(|error| format!("{error:?}"))?;
            present.push(rows.iter().map(|row| row.is_some()).collect::<Vec<_>>());
        }
        match (0..PAIRS as usize).find(|pair| !present[0][*pair] && !present[1][*pair]) {
            Some(pair) => Err(format!("nobody of pair {pair} is on duty at {}", view.snapshot)),
            None => Ok(()),
        }
    }
}
