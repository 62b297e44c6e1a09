//! Transactions that append to lists and read them, and a search for anomalies in what they saw.
//!
//! Elements are unique and lists only grow, so the list in the end is the order of a key's versions, and what was read tells which version
//! it was. From that follows who depends on whom (Adya, 1999; Kingsbury and Alvaro, "Elle", 2020): ww, installs the next version; wr, reads the
//! version; rw, reads a version whose successor the other installs. A cycle is an anomaly. SERIALIZABLE allows none, REPEATABLE READ
//! (snapshot isolation) only those with two rw next to each other, so none with a single one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::StorageId;
use crate::error::SqlResult;
use crate::runtime;
use crate::shard::sim::history::History;
use crate::shard::{EngineError, EngineResult, RowAction, RowOutput, RowUpdate, Txn, engine};
use crate::storage::Key;
use crate::txn::Isolation;

/// Lists.
pub const LISTS: i64 = 8;
/// Operations of a transaction at most.
pub const STEPS_MAX: u64 = 4;
/// What every list begins with.
pub const FIRST: u64 = 0;

/// What became of a transaction, as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The machine crashed before it was told.
    Unknown,
    /// Acknowledged.
    Committed,
    /// Refused, or rolled back.
    Aborted,
}

#[derive(Debug)]
struct Recorded {
    reads: Vec<(i64, Vec<u64>)>,
    appends: Vec<(i64, u64)>,
    outcome: Outcome,
}

/// All transactions of a history.
#[derive(Debug, Default)]
pub struct Lists {
    /// The level that all of them run at; not decided before the first.
    serializable: Option<bool>,
    transactions: Vec<Recorded>,
    /// Elements that were there already.
    base: BTreeMap<i64, Vec<u64>>,
}

/// The lists by key.
pub type Contents = BTreeMap<i64, Vec<u64>>;

struct Append(u64);

impl RowUpdate for Append {
    fn apply(&self, row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction> {
        out.row.extend_from_slice(row);
        out.row.extend_from_slice(&self.0.to_le_bytes());
        Ok(RowAction::Replace)
    }
}

/// The rows that the storage begins with.
pub fn rows() -> Vec<(Key, Vec<u8>)> {
    (0..LISTS).map(|list| (Key::Int(list), FIRST.to_le_bytes().to_vec())).collect()
}

/// The elements of a row.
pub fn elements(row: &[u8]) -> Vec<u64> {
    row.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes"))).collect()
}

/// One transaction.
pub async fn run(storage: StorageId, history: &Rc<RefCell<History>>) -> Result<(), String> {
    let (number, serializable) = {
        let lists = &mut history.borrow_mut().lists;
        (lists.begin(), lists.is_serializable())
    };
    let engine = engine();
    let isolation = if serializable { Isolation::Serializable } else { Isolation::RepeatableRead };
    let mut txn = engine.begin(isolation, false);
    let done = steps(storage, history, number, &mut txn).await;
    let gives_up = runtime::random_u64().is_multiple_of(20);
    let outcome = match done {
        Ok(()) if !gives_up => engine.commit(txn).await.map(drop),
        other => {
            engine.abort(txn).await;
            other.and(Err(EngineError::Aborted))
        }
    };
    let known = match outcome {
        Ok(()) => Outcome::Committed,
        Err(
            EngineError::Aborted
            | EngineError::SerializationFailure
            | EngineError::ReadConflict
            | EngineError::Deadlock { .. }
            | EngineError::DiskFull,
        ) => Outcome::Aborted,
        Err(error) => return Err(format!("appending to lists failed: {error:?}")),
    };
    history.borrow_mut().lists.end(number, known);
    Ok(())
}

async fn steps(storage: StorageId, history: &Rc<RefCell<History>>, number: usize, txn: &mut Txn) -> EngineResult<()> {
    let engine = engine();
    for step in 0..=runtime::random_u64() % STEPS_MAX {
        let key = (runtime::random_u64() % LISTS as u64) as i64;
        if runtime::random_u64().is_multiple_of(2) {
            engine.before_looking(txn).await?;
            let view = engine.read_view(Some(&mut *txn));
            let found = engine.get_many(&view, storage, vec![Key::Int(key)]).await?;
            let list = found.iter().next().flatten().map(elements).unwrap_or_default();
            history.borrow_mut().lists.read(number, key, list);
        } else {
            let element = history.borrow_mut().lists.append(number, key, step);
            let view = engine.write_view(txn);
            engine.modify(txn, &view, storage, Key::Int(key), Arc::new(Append(element))).await?;
        }
    }
    Ok(())
}

impl Lists {
    /// The level that all transactions run at: SERIALIZABLE, or else REPEATABLE READ.
    pub fn is_serializable(&mut self) -> bool {
        *self.serializable.get_or_insert_with(|| runtime::random_u64().is_multiple_of(2))
    }

    /// A transaction begins: its number.
    pub fn begin(&mut self) -> usize {
        self.transactions.push(Recorded { reads: Vec::new(), appends: Vec::new(), outcome: Outcome::Unknown });
        self.transactions.len() - 1
    }

    /// It has read a list.
    pub fn read(&mut self, number: usize, key: i64, list: Vec<u64>) {
        self.transactions[number].reads.push((key, list));
    }

    /// It is about to append an element in one of its steps: which.
    pub fn append(&mut self, number: usize, key: i64, step: u64) -> u64 {
        // Never the first, and of this transaction alone.
        let element = ((number as u64 + 1) << 8) | step;
        self.transactions[number].appends.push((key, element));
        element
    }

    /// Its client has learned what became of it.
    pub fn end(&mut self, number: usize, outcome: Outcome) {
        self.transactions[number].outcome = outcome;
    }

    /// Transactions that have committed, and those that have not.
    pub fn counts(&self) -> (u64, u64) {
        let committed = self.transactions.iter().filter(|transaction| transaction.outcome == Outcome::Committed).count();
        (committed as u64, (self.transactions.len() - committed) as u64)
    }

    /// Takes the lists for what everything begins with.
    pub fn begin_with(&mut self, contents: Contents) {
        // Numbers go on, so that elements stay unique.
        for transaction in &mut self.transactions {
            transaction.reads.clear();
            transaction.appends.clear();
        }
        self.base = contents;
    }

    /// Looks for anything that the level does not allow; `contents` is what is there now.
    pub fn check(&self, contents: &Contents) -> Result<(), String> {
        let writers: BTreeMap<u64, usize> = self
            .transactions
            .iter()
            .enumerate()
            .flat_map(|(number, transaction)| transaction.appends.iter().map(move |(_, element)| (*element, number)))
            .collect();
        self.check_elements(contents, &writers)?;
        let alive: Vec<bool> = self.transactions.iter().map(|transaction| is_alive(transaction, contents)).collect();
        let mut graph = Graph::new(self.transactions.len());
        for list in contents.values() {
            for pair in list.windows(2) {
                if let (Some(before), Some(after)) = (writers.get(&pair[0]), writers.get(&pair[1])) {
                    graph.add(*before, *after, false);
                }
            }
        }
        for (number, transaction) in self.transactions.iter().enumerate().filter(|(number, _)| alive[*number]) {
            for (key, read) in &transaction.reads {
                let list = &contents[key];
                if !list.starts_with(read) {
                    return Err(format!("transaction {number} read list {key} as {read:?}, which is now {list:?}"));
                }
                let (last, next) = (read.last().and_then(|last| writers.get(last)), list.get(read.len()));
                let next = next.and_then(|next| writers.get(next));
                if last.is_some() && last == next && last != Some(&number) {
                    return Err(format!("transaction {number} read list {key} in the middle of another transaction: {read:?}"));
                }
                last.into_iter().for_each(|writer| graph.add(*writer, number, false));
                next.into_iter().for_each(|writer| graph.add(number, *writer, true));
            }
        }
        match graph.cycle(self.serializable == Some(true)) {
            None => Ok(()),
            Some(numbers) => {
                let involved: Vec<_> = numbers.iter().map(|number| (number, &self.transactions[*number])).collect();
                Err(format!("a cycle of dependencies (serializable: {:?}): {involved:?}", self.serializable))
            }
        }
    }

    /// Nothing is lost, twice there, half there, or there although it was rolled back.
    fn check_elements(&self, contents: &Contents, writers: &BTreeMap<u64, usize>) -> Result<(), String> {
        for (key, list) in contents {
            let base = self.base.get(key).map_or(&[FIRST][..], Vec::as_slice);
            let Some(appended) = list.strip_prefix(base) else {
                return Err(format!("list {key} is {list:?} and began as {base:?}"));
            };
            let mut sorted = appended.to_vec();
            sorted.sort_unstable();
            if sorted.windows(2).any(|pair| pair[0] == pair[1]) || sorted.iter().any(|element| !writers.contains_key(element)) {
                return Err(format!("list {key} has elements twice or from nowhere: {list:?}"));
            }
        }
        for (number, transaction) in self.transactions.iter().enumerate() {
            let there = transaction.appends.iter().filter(|(key, element)| contents[key].contains(element)).count();
            let right = match transaction.outcome {
                Outcome::Committed => there == transaction.appends.len(),
                Outcome::Aborted => there == 0,
                Outcome::Unknown => there == 0 || there == transaction.appends.len(),
            };
            if !right {
                return Err(format!("of transaction {number}, {transaction:?}, {there} elements are there"));
            }
        }
        Ok(())
    }
}

/// Whether a transaction has certainly committed.
fn is_alive(transaction: &Recorded, contents: &Contents) -> bool {
    match transaction.outcome {
        Outcome::Committed => true,
        Outcome::Aborted => false,
        Outcome::Unknown => transaction.appends.first().is_some_and(|(key, element)| contents[key].contains(element)),
    }
}

/// Who has to come before whom.
struct Graph {
    /// By transaction: the later one, and whether that is only because it overwrote what was read.
    edges: Vec<Vec<(usize, bool)>>,
}

impl Graph {
    fn new(transactions: usize) -> Self {
        Self { edges: vec![Vec::new(); transactions] }
    }

    fn add(&mut self, before: usize, after: usize, rw: bool) {
        if before != after {
            self.edges[before].push((after, rw));
        }
    }

    /// The way from a transaction to another, over edges other than rw unless `any`.
    fn path(&self, from: usize, to: usize, any: bool) -> Option<Vec<usize>> {
        let mut came_from = BTreeMap::from([(from, from)]);
        let mut todo = vec![from];
        while let Some(at) = todo.pop() {
            if at == to {
                let mut path = vec![to];
                while path.last() != Some(&from) {
                    path.push(came_from[path.last().expect("it begins with one")]);
                }
                path.reverse();
                return Some(path);
            }
            for (next, _) in self.edges[at].iter().filter(|(_, rw)| any || !rw) {
                came_from.entry(*next).or_insert_with(|| {
                    todo.push(*next);
                    at
                });
            }
        }
        None
    }

    /// A cycle: whatever its edges are if `any`, else with at most one rw.
    fn cycle(&self, any: bool) -> Option<Vec<usize>> {
        let edges = self.edges.iter().enumerate();
        let mut edges = edges.flat_map(|(before, after)| after.iter().map(move |(after, _)| (before, *after)));
        edges.find_map(|(before, after)| self.path(after, before, any))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(reads: &[(i64, &[u64])], appends: &[(i64, u64)]) -> Recorded {
        let reads = reads.iter().map(|(key, list)| (*key, list.to_vec())).collect();
        Recorded { reads, appends: appends.to_vec(), outcome: Outcome::Committed }
    }

    fn check(serializable: bool, transactions: Vec<Recorded>, contents: &[(i64, &[u64])]) -> Result<(), String> {
        let lists = Lists { serializable: Some(serializable), transactions, base: BTreeMap::new() };
        lists.check(&contents.iter().map(|(key, list)| (*key, list.to_vec())).collect())
    }

    #[test]
    fn each_level_has_its_anomalies() {
        // Write skew: each reads what the other is about to write.
        let skew = || vec![recorded(&[(1, &[0])], &[(2, 20)]), recorded(&[(2, &[0])], &[(1, 10)])];
        let contents: [(i64, &[u64]); 2] = [(1, &[0, 10]), (2, &[0, 20])];
        assert!(check(true, skew(), &contents).expect_err("not serializable").contains("cycle"));
        check(false, skew(), &contents).expect("snapshots allow it");
        // Read skew: one half of the other's writes.
        let torn = || vec![recorded(&[(1, &[0, 10]), (2, &[0])], &[]), recorded(&[], &[(1, 10), (2, 20)])];
        assert!(check(true, torn(), &contents).is_err() && check(false, torn(), &contents).is_err());
    }

    #[test]
    fn lost_undead_and_intermediate_elements_are_noticed() {
        let contents: [(i64, &[u64]); 1] = [(1, &[0, 10, 11])];
        check(true, vec![recorded(&[], &[(1, 10), (1, 11)])], &contents).expect("that is how it was");
        let problems = [
            (vec![recorded(&[], &[(1, 10), (1, 11), (1, 12)])], "elements are there"),
            (vec![recorded(&[], &[(1, 10)])], "from nowhere"),
            (vec![recorded(&[], &[(1, 10), (1, 11)]), recorded(&[(1, &[0, 10])], &[])], "in the middle"),
            (vec![recorded(&[], &[(1, 10), (1, 11)]), recorded(&[(1, &[0, 12])], &[])], "which is now"),
        ];
        for (transactions, what) in problems {
            let problem = check(true, transactions, &contents).expect_err(what);
            assert!(problem.contains(what), "{problem}");
        }
        let undead = Recorded { outcome: Outcome::Aborted, ..recorded(&[], &[(1, 10), (1, 11)]) };
        assert!(check(true, vec![undead], &contents).is_err());
    }
}
