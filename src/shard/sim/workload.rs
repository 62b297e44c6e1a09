//! What the simulated clients do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::StorageId;
use crate::error::SqlResult;
use crate::runtime;
use crate::shard::sim::duty::Duty;
use crate::shard::sim::history::{ACCOUNTS, COUNTERS, GUARDED_COUNTER, History, OPENING, Transfer};
use crate::shard::sim::{lists, two_phase};
use crate::shard::{
    CATALOG_STORAGE, Engine, EngineError, EngineResult, KeyRange, ReadView, RowAction, RowOutput, RowUpdate, ScanSpec, engine,
};
use crate::storage::{Key, KeyKind};
use crate::txn::Isolation;

/// The storages of the bank, as the catalog names them.
#[derive(Clone, Copy, Debug)]
pub struct Bank {
    pub accounts: StorageId,
    pub ledger: StorageId,
    pub counters: StorageId,
    pub notes: StorageId,
    pub duty: Duty,
    pub lists: StorageId,
}

/// Bytes of a note: two of them fit no log record of the simulator.
const NOTE_BYTES: usize = 10_000;
/// Notes of a transfer that has any.
const NOTES: i64 = 3;

/// Adds to a row that holds one little-endian i64.
struct Add(i64);

impl RowUpdate for Add {
    fn apply(&self, row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction> {
        let value = i64::from_le_bytes(row.try_into().expect("rows of the bank are eight bytes"));
        out.row.extend_from_slice(&(value + self.0).to_le_bytes());
        Ok(RowAction::Replace)
    }

    fn commutes(&self, _row: &[u8]) -> bool {
        true
    }
}

/// Replaces a row, whatever it was.
struct Set(i64);

impl RowUpdate for Set {
    fn apply(&self, _row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction> {
        out.row.extend_from_slice(&self.0.to_le_bytes());
        Ok(RowAction::Replace)
    }
}

fn below(limit: i64) -> i64 {
    (runtime::random_u64() % limit as u64) as i64
}

impl Bank {
    /// The bank whose storages the catalog's rows name, if it was opened.
    pub fn find(catalog: &[(i64, Vec<u8>)]) -> Option<Bank> {
        let storage = |name: i64| {
            let (_, bytes) = catalog.iter().find(|(oid, _)| *oid == name)?;
            Some(StorageId(u32::from_le_bytes(bytes[..4].try_into().ok()?)))
        };
        Some(Bank {
            accounts: storage(1)?,
            ledger: storage(2)?,
            counters: storage(3)?,
            notes: storage(4)?,
            duty: Duty { people: [storage(5)?, storage(6)?] },
            lists: storage(7)?,
        })
    }

    /// What the catalog's rows say about storages.
    pub fn kinds(catalog: &[(i64, Vec<u8>)]) -> Vec<(StorageId, KeyKind)> {
        let storage = |bytes: &[u8]| StorageId(u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")));
        catalog.iter().map(|(_, bytes)| (storage(bytes), KeyKind::Int)).collect()
    }

    /// Makes the storages and the opening balances, in one transaction.
    pub async fn open(history: &Rc<RefCell<History>>) -> EngineResult<Bank> {
        let engine = engine();
        let mut txn = engine.begin(Isolation::ReadCommitted, false);
        let mut storages = Vec::new();
        for name in 1..=7i64 {
            let storage = engine.create_storage(&mut txn, KeyKind::Int).await?;
            let view = engine.write_view(&mut txn);
            let row = (Key::Int(name), storage.0.to_le_bytes().to_vec());
            engine.insert(&mut txn, &view, CATALOG_STORAGE, vec![row]).await?;
            storages.push(storage);
        }
        let bank = Bank {
            accounts: storages[0],
            ledger: storages[1],
            counters: storages[2],
            notes: storages[3],
            duty: Duty { people: [storages[4], storages[5]] },
            lists: storages[6],
        };
        let rows = |count: i64, value: i64| (0..count).map(|key| (Key::Int(key), value.to_le_bytes().to_vec())).collect();
        let view = engine.write_view(&mut txn);
        engine.insert(&mut txn, &view, bank.accounts, rows(ACCOUNTS, OPENING)).await?;
        engine.insert(&mut txn, &view, bank.counters, rows(GUARDED_COUNTER + 1, 0)).await?;
        for storage in bank.duty.people {
            engine.insert(&mut txn, &view, storage, Duty::rows()).await?;
        }
        engine.insert(&mut txn, &view, bank.lists, lists::rows()).await?;
        engine.commit(txn).await?;
        history.borrow_mut().opened = true;
        Ok(bank)
    }

    /// One client: a number of random transactions.
    pub async fn client(self, history: Rc<RefCell<History>>, transactions: u32) -> Result<(), String> {
        for _ in 0..transactions {
            match runtime::random_u64() % 18 {
                0..=4 => self.transfer(&history).await?,
                5 | 6 => self.increment(&history).await?,
                7 | 8 => self.look().await?,
                13 | 14 => self.increment_guarded(&history).await?,
                15..=17 => lists::run(self.lists, &history).await?,
                11 => two_phase::decide_one(&engine(), &history).await?,
                9 | 10 => {
                    let changed = self.duty.change().await?;
                    history.borrow_mut().count_change(changed);
                }
                _ => runtime::sleep(Duration::from_micros(runtime::random_u64() % 2000)).await,
            }
        }
        Ok(())
    }

    async fn transfer(&self, history: &Rc<RefCell<History>>) -> Result<(), String> {
        let notes = if runtime::random_u64().is_multiple_of(32) { NOTES } else { 0 };
        let transfer = Transfer { from: below(ACCOUNTS), to: below(ACCOUNTS), amount: 1 + below(9), notes };
        let number = history.borrow_mut().begin(transfer);
        let engine = engine();
        let mut txn = engine.begin(Isolation::ReadCommitted, false);
        let written = self.write_transfer(&engine, &mut txn, number, transfer).await;
        let give_up = runtime::random_u64().is_multiple_of(12);
        if give_up || written.is_err() {
            engine.abort(txn).await;
            history.borrow_mut().refused.push(number);
            return match written {
                Ok(()) => Ok(()),
                Err(EngineError::Deadlock { .. }) => {
                    history.borrow_mut().deadlocks += 1;
                    Ok(())
                }
                Err(EngineError::RowTooLarge { .. }) if notes > 0 => Ok(()),
                Err(error) => Err(format!("a transfer failed: {error:?}")),
            };
        }
        if runtime::random_u64().is_multiple_of(6) {
            return two_phase::prepare(&engine, txn, history, number).await;
        }
        let put_off = txn.has_put_off();
        match engine.commit(txn).await {
            Ok(_) => {
                history.borrow_mut().put_off += u64::from(put_off);
                history.borrow_mut().acknowledged.push(number);
            }
            Err(EngineError::DiskFull) => {
                history.borrow_mut().disk_full += 1;
                history.borrow_mut().refused.push(number);
            }
            Err(error) => return Err(format!("a commit failed: {error:?}")),
        }
        Ok(())
    }

    async fn write_transfer(
        &self,
        engine: &Engine,
        txn: &mut crate::shard::Txn,
        number: i64,
        transfer: Transfer,
    ) -> EngineResult<()> {
        let mut row = Vec::with_capacity(32);
        for value in [transfer.from, transfer.to, transfer.amount, transfer.notes] {
            row.extend_from_slice(&value.to_le_bytes());
        }
        let view = engine.write_view(txn);
        for note in 0..transfer.notes {
            let too_large = runtime::random_u64().is_multiple_of(16);
            let bytes = if too_large { 2 * NOTE_BYTES } else { NOTE_BYTES };
            let inserted = engine.insert(txn, &view, self.notes, vec![(note_key(number, note), note_row(number, bytes))]).await;
            assert_eq!(inserted.is_err(), too_large, "a row that fits no log record is refused, and no other");
            inserted?;
        }
        // Numbers are spread over the key space, so that the ledger is not one tail.
        engine.insert(txn, &view, self.ledger, vec![(Key::Int(spread(number)), row)]).await?;
        self.add(engine, txn, transfer.from, -transfer.amount).await?;
        if runtime::random_u64().is_multiple_of(8) {
            let savepoint = engine.savepoint(txn);
            self.add(engine, txn, transfer.to, 500).await?;
            self.add(engine, txn, transfer.to, 500).await?;
            engine.rollback_to(txn, savepoint).await;
        }
        self.add(engine, txn, transfer.to, transfer.amount).await
    }

    async fn add(&self, engine: &Engine, txn: &mut crate::shard::Txn, account: i64, amount: i64) -> EngineResult<()> {
        let view = engine.write_view(txn);
        let done = engine.modify(txn, &view, self.accounts, Key::Int(account), Arc::new(Add(amount))).await?;
        assert_eq!(done.action, RowAction::Replace, "accounts are never deleted");
        Ok(())
    }

    async fn increment(&self, history: &Rc<RefCell<History>>) -> Result<(), String> {
        let counter = below(COUNTERS);
        history.borrow_mut().increments.entry(counter).or_default().0 += 1;
        let engine = engine();
        let mut txn = engine.begin(Isolation::ReadCommitted, false);
        let view = engine.write_view(&mut txn);
        let done = engine.modify(&mut txn, &view, self.counters, Key::Int(counter), Arc::new(Add(1))).await;
        let committed = match done {
            Ok(_) => engine.commit(txn).await,
            Err(error) => {
                engine.abort(txn).await;
                Err(error)
            }
        };
        match committed {
            Ok(_) => history.borrow_mut().increments.entry(counter).or_default().1 += 1,
            Err(EngineError::DiskFull) => history.borrow_mut().disk_full += 1,
            Err(error) => return Err(format!("an increment failed: {error:?}")),
        }
        Ok(())
    }

    /// Reads a counter and writes what comes next, which is right only if nobody else does meanwhile: account 0, once it has been
    /// changed, keeps them out.
    async fn increment_guarded(&self, history: &Rc<RefCell<History>>) -> Result<(), String> {
        history.borrow_mut().increments.entry(GUARDED_COUNTER).or_default().0 += 1;
        let engine = engine();
        let mut txn = engine.begin(Isolation::ReadCommitted, false);
        let written = self.write_guarded(&engine, &mut txn).await;
        let committed = match written {
            Ok(()) => engine.commit(txn).await,
            Err(error) => {
                engine.abort(txn).await;
                Err(error)
            }
        };
        match committed {
            Ok(_) => history.borrow_mut().increments.entry(GUARDED_COUNTER).or_default().1 += 1,
            Err(EngineError::Deadlock { .. }) => history.borrow_mut().deadlocks += 1,
            Err(EngineError::DiskFull) => history.borrow_mut().disk_full += 1,
            Err(error) => return Err(format!("a guarded increment failed: {error:?}")),
        }
        Ok(())
    }

    async fn write_guarded(&self, engine: &Engine, txn: &mut crate::shard::Txn) -> EngineResult<()> {
        self.add(engine, txn, 0, 0).await?;
        engine.before_looking(txn).await?;
        let view = engine.read_view(Some(&mut *txn));
        let row = engine.get_many(&view, self.counters, vec![Key::Int(GUARDED_COUNTER)]).await?;
        let value = row.iter().next().flatten().map(|row| word(row, 0)).expect("counters are never deleted");
        if runtime::random_u64().is_multiple_of(2) {
            runtime::yield_now().await;
        }
        let view = engine.write_view(txn);
        engine.modify(txn, &view, self.counters, Key::Int(GUARDED_COUNTER), Arc::new(Set(value + 1))).await.map(drop)
    }

    /// A reader must see whole transfers only.
    async fn look(&self) -> Result<(), String> {
        let engine = engine();
        // At D, as read-only statements see it, or at V, as a transaction that may write does.
        let mut txn = engine.begin(Isolation::RepeatableRead, false);
        let durable_only = runtime::random_u64().is_multiple_of(2);
        let view = if durable_only { engine.read_view(None) } else { engine.read_view(Some(&mut txn)) };
        let _pin = engine.pin(&view);
        let accounts = self.balances(&engine, view).await?;
        self.duty.check(&engine, &view).await?;
        engine.abort(txn).await;
        let sum: i64 = accounts.values().sum();
        if accounts.len() as i64 != ACCOUNTS || sum != ACCOUNTS * OPENING {
            return Err(format!("a snapshot at {} shows {} accounts with {sum} in all", view.snapshot, accounts.len()));
        }
        Ok(())
    }

    async fn scan(&self, engine: &Engine, view: ReadView, storage: StorageId) -> Result<Vec<(i64, Vec<u8>)>, String> {
        let reverse = runtime::random_u64().is_multiple_of(4);
        let spec = ScanSpec { storage, range: KeyRange::all(), reverse, filter: None, limit: None, with_keys: true };
        let mut cursor = engine.scan(view, spec);
        let mut rows = Vec::new();
        while let Some(batch) = cursor.next().await.map_err(|error| format!("a scan failed: {error:?}"))? {
            for (key, row) in batch.keys().iter().zip(batch.iter()) {
                let Key::Int(key) = key else { return Err("the bank has integer keys".into()) };
                rows.push((*key, row.expect("scans return rows").to_vec()));
            }
        }
        let sorted = rows.windows(2).all(|pair| if reverse { pair[0].0 > pair[1].0 } else { pair[0].0 < pair[1].0 });
        if sorted { Ok(rows) } else { Err(format!("a scan of {storage} was out of order")) }
    }

    async fn balances(&self, engine: &Engine, view: ReadView) -> Result<BTreeMap<i64, i64>, String> {
        let rows = self.scan(engine, view, self.accounts).await?;
        Ok(rows.into_iter().map(|(key, row)| (key, word(&row, 0))).collect())
    }

    async fn numbers(&self, engine: &Engine, view: ReadView) -> Result<BTreeMap<i64, i64>, String> {
        let rows = self.scan(engine, view, self.counters).await?;
        Ok(rows.into_iter().map(|(key, row)| (key, word(&row, 0))).collect())
    }

    async fn list_contents(&self, engine: &Engine, view: ReadView) -> Result<lists::Contents, String> {
        let rows = self.scan(engine, view, self.lists).await?;
        Ok(rows.into_iter().map(|(key, row)| (key, lists::elements(&row))).collect())
    }

    async fn transfers(&self, engine: &Engine, view: ReadView) -> Result<BTreeMap<i64, Transfer>, String> {
        let transfer = |(key, row): (i64, Vec<u8>)| {
            let [from, to, amount, notes] = [0, 1, 2, 3].map(|index| word(&row, index));
            (unspread(key), Transfer { from, to, amount, notes })
        };
        Ok(self.scan(engine, view, self.ledger).await?.into_iter().map(transfer).collect())
    }

    /// After a recovery from damage: makes the clients' history end where the bank's does now.
    pub async fn accept_losses(&self, history: &Rc<RefCell<History>>) -> Result<(), String> {
        let engine = engine();
        let view = engine.read_view(None);
        let _pin = engine.pin(&view);
        let counters = self.numbers(&engine, view).await?;
        let ledger = self.transfers(&engine, view).await?;
        let lists = self.list_contents(&engine, view).await?;
        history.borrow_mut().accept_losses(&two_phase::listed(&engine), &ledger, &counters);
        history.borrow_mut().lists.begin_with(lists);
        Ok(())
    }

    /// Checks everything that is there against the clients' history.
    pub async fn check(&self, history: &Rc<RefCell<History>>) -> Result<(), String> {
        let engine = engine();
        let view = engine.read_view(None);
        let _pin = engine.pin(&view);
        let accounts = self.balances(&engine, view).await?;
        let counters = self.numbers(&engine, view).await?;
        let ledger = self.transfers(&engine, view).await?;
        self.duty.check(&engine, &view).await?;
        self.check_notes(&engine, view, &ledger).await?;
        let lists = self.list_contents(&engine, view).await?;
        history.borrow().lists.check(&lists)?;
        two_phase::check(&engine, self.accounts, history, &ledger).await?;
        history.borrow().check(&accounts, &ledger, &counters)
    }

    /// The notes are those of the ledger's transfers, whole.
    async fn check_notes(&self, engine: &Engine, view: ReadView, ledger: &BTreeMap<i64, Transfer>) -> Result<(), String> {
        let found = self.scan(engine, view, self.notes).await?;
        let wanted = ledger.iter().flat_map(|(number, transfer)| (0..transfer.notes).map(|note| (*number, note)));
        let wanted: BTreeMap<i64, i64> = wanted
            .map(|(number, note)| match note_key(number, note) {
                Key::Int(key) => (key, number),
                Key::Bytes(_) => unreachable!("notes have integer keys"),
            })
            .collect();
        let keys: Vec<i64> = found.iter().map(|(key, _)| *key).collect();
        if keys.iter().copied().collect::<std::collections::BTreeSet<_>>() != wanted.keys().copied().collect() {
            return Err(format!("there are {} notes, and {} belong to transfers", keys.len(), wanted.len()));
        }
        let torn = found.iter().find(|(key, row)| *row != note_row(wanted[key], NOTE_BYTES));
        torn.map_or(Ok(()), |(key, _)| Err(format!("note {key} is not what was written")))
    }
}

fn note_key(number: i64, note: i64) -> Key {
    Key::Int(spread(number * NOTES + note))
}

fn note_row(number: i64, bytes: usize) -> Vec<u8> {
    vec![number as u8; bytes]
}

fn word(row: &[u8], index: usize) -> i64 {
    i64::from_le_bytes(row[index * 8..index * 8 + 8].try_into().expect("rows of the bank are whole words"))
}

/// A bijection of the numbers that scatters them.
fn spread(number: i64) -> i64 {
    (number as u64).reverse_bits() as i64
}

fn unspread(key: i64) -> i64 {
    (key as u64).reverse_bits() as i64
}
