//! What the clients of a simulation know: what they attempted, and what was acknowledged to them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::shard::sim::lists::Lists;

/// Accounts of the bank.
pub const ACCOUNTS: i64 = 24;
/// What each starts with.
pub const OPENING: i64 = 1000;
/// Counters, each a row that all clients increment.
pub const COUNTERS: i64 = 3;
/// The counter that clients read and write while they have account 0 for themselves.
pub const GUARDED_COUNTER: i64 = COUNTERS;

/// A transfer between two accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// From.
    pub from: i64,
    /// To.
    pub to: i64,
    /// How much.
    pub amount: i64,
    /// How many notes belong to it: enough of them to need several log records.
    pub notes: i64,
}

/// How far a transfer's two-phase commit has come, as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Asked to be prepared.
    Preparing,
    /// Prepared, which was acknowledged.
    Prepared,
    /// Asked to be committed.
    Committing,
    /// Asked to be rolled back.
    RollingBack,
}

/// Everything attempted since the disk was empty.
#[derive(Debug, Default)]
pub struct History {
    /// Whether the opening balances were acknowledged.
    pub opened: bool,
    next: i64,
    /// Every transfer begun, by its unique number.
    pub attempted: BTreeMap<i64, Transfer>,
    /// Numbers of those acknowledged.
    pub acknowledged: Vec<i64>,
    /// Numbers of those that certainly did not commit: aborted, or refused before the commit.
    pub refused: Vec<i64>,
    /// Transfers in two phases whose outcome was not acknowledged.
    pub prepared: BTreeMap<i64, Phase>,
    /// Decisions acknowledged: committed, rolled back.
    pub decided: (u64, u64),
    /// Undecided transfers found again by a restart.
    pub found_prepared: u64,
    /// For each counter: increments begun and acknowledged.
    pub increments: BTreeMap<i64, (i64, i64)>,
    /// Transactions on lists.
    pub lists: Lists,
    /// Deadlocks met.
    pub deadlocks: u64,
    /// Commits refused because the disk was full.
    pub disk_full: u64,
    /// Times the server stopped because the disk had failed.
    pub disk_failures: u64,
    /// Transactions acknowledged that had put off an addition to their end.
    pub put_off: u64,
    /// Changes of duty acknowledged, and those refused because of what others did.
    pub changes: (u64, u64),
    /// Whether a recovery has dropped what came after damage, and that was accepted.
    pub accepted_losses: bool,
    /// Acknowledged transfers that were dropped by it.
    pub lost: usize,
}

/// Sums over the seeds of this thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub commits: u64,
    /// Commits of transfers with notes.
    pub large: u64,
    pub deadlocks: u64,
    /// Transactions on lists, committed and not.
    pub lists: (u64, u64),
    /// Commits refused on a full disk.
    pub disk_full: u64,
    /// Stops because of a failed disk.
    pub disk_failures: u64,
    /// Transactions with additions put off to their end.
    pub put_off: u64,
    /// SERIALIZABLE transactions, committed and refused.
    pub changes: (u64, u64),
    /// Prepared transactions, committed and rolled back.
    pub decided: (u64, u64),
    /// Prepared transactions that a restart has found.
    pub found_prepared: u64,
}

thread_local! {
    static TOTALS: Cell<Totals> = Cell::default();
}

impl Totals {
    /// Adds those of another seed.
    pub fn add(&mut self, other: &Totals) {
        self.commits += other.commits;
        self.large += other.large;
        self.deadlocks += other.deadlocks;
        self.lists.0 += other.lists.0;
        self.lists.1 += other.lists.1;
        self.disk_full += other.disk_full;
        self.disk_failures += other.disk_failures;
        self.put_off += other.put_off;
        self.changes.0 += other.changes.0;
        self.changes.1 += other.changes.1;
        self.decided.0 += other.decided.0;
        self.decided.1 += other.decided.1;
        self.found_prepared += other.found_prepared;
    }
}

/// The sums, starting anew.
pub fn take_totals() -> Totals {
    TOTALS.take()
}

impl History {
    /// A new transfer.
    pub fn begin(&mut self, transfer: Transfer) -> i64 {
        self.next += 1;
        self.attempted.insert(self.next, transfer);
        self.next
    }

    /// A change of duty has ended.
    pub fn count_change(&mut self, acknowledged: bool) {
        *(if acknowledged { &mut self.changes.0 } else { &mut self.changes.1 }) += 1;
    }

    /// A transfer that waits for its decision, if there is one; `choice` picks it.
    pub fn undecided(&self, choice: u64) -> Option<i64> {
        let waiting: Vec<i64> = self.waiting().collect();
        (!waiting.is_empty()).then(|| waiting[choice as usize % waiting.len()])
    }

    /// All that wait for their decisions.
    pub fn waiting(&self) -> impl Iterator<Item = i64> {
        self.prepared.iter().filter(|(_, phase)| **phase == Phase::Prepared).map(|(number, _)| *number)
    }

    /// A restart has found them again.
    pub fn count_found(&mut self) {
        self.found_prepared += self.waiting().count() as u64;
    }

    /// A decision was acknowledged.
    pub fn settle(&mut self, number: i64, committed: bool) {
        self.prepared.remove(&number);
        if committed {
            self.decided.0 += 1;
            self.acknowledged.push(number);
        } else {
            self.decided.1 += 1;
            self.refused.push(number);
        }
    }

    /// The damage was in the first commit: the bank has never been opened.
    pub fn accept_all_lost(&mut self) {
        let (next, lost) = (self.next, self.acknowledged.len());
        // What is replaced is counted as it goes, with all that it knows.
        let attempted = self.attempted.clone();
        *self = Self::default();
        (self.next, self.attempted, self.lost, self.accepted_losses) = (next, attempted, lost, true);
    }

    /// Takes what a recovery from damage has kept for all there is. Whether that is a whole state is for [`Self::check`].
    pub fn accept_losses(&mut self, listed: &BTreeSet<i64>, ledger: &BTreeMap<i64, Transfer>, counters: &BTreeMap<i64, i64>) {
        self.accepted_losses = true;
        let acknowledged = std::mem::take(&mut self.acknowledged);
        let (kept, lost): (Vec<_>, Vec<_>) = acknowledged.into_iter().partition(|number| ledger.contains_key(number));
        self.lost = lost.len();
        self.acknowledged = kept;
        self.refused.extend(lost);
        for (number, _) in std::mem::take(&mut self.prepared) {
            let outcome = if ledger.contains_key(&number) { &mut self.acknowledged } else { &mut self.refused };
            outcome.push(number);
        }
        // Decided after the cut, these are undecided again.
        self.refused.retain(|number| !listed.contains(number));
        self.prepared = listed.iter().map(|number| (*number, Phase::Prepared)).collect();
        for (counter, value) in counters {
            let (begun, acknowledged) = self.increments.entry(*counter).or_default();
            assert!(value <= begun, "counter {counter} is {value} after {begun} increments");
            (*begun, *acknowledged) = (*value, *value);
        }
    }

    /// Compares the transactions that are listed as prepared with what clients know, and learns from them and from the ledger
    /// how those have ended whose outcome no client was told.
    pub fn learn_prepared(&mut self, listed: &BTreeSet<i64>, ledger: &BTreeMap<i64, Transfer>) -> Result<(), String> {
        if let Some(number) = listed.iter().find(|number| !self.prepared.contains_key(number)) {
            return Err(format!("transfer {number} is listed as prepared, and nobody is to decide it"));
        }
        for (number, phase) in self.prepared.clone() {
            let (listed, kept) = (listed.contains(&number), ledger.contains_key(&number));
            match (phase, listed, kept) {
                (_, true, true) => return Err(format!("transfer {number} is prepared, and its writes are seen")),
                (_, true, false) => {
                    self.prepared.insert(number, Phase::Prepared);
                }
                (Phase::Committing, false, true) => self.settle(number, true),
                (Phase::Preparing | Phase::RollingBack, false, false) => self.settle(number, false),
                (_, false, _) => return Err(format!("transfer {number} was {phase:?} and is gone; committed: {kept}")),
            }
        }
        Ok(())
    }

    /// Compares what was recovered with what must, may and must not be there.
    pub fn check(
        &self,
        accounts: &BTreeMap<i64, i64>,
        ledger: &BTreeMap<i64, Transfer>,
        counters: &BTreeMap<i64, i64>,
    ) -> Result<(), String> {
        if !self.opened && accounts.is_empty() {
            return if ledger.is_empty() { Ok(()) } else { Err("a ledger without accounts".into()) };
        }
        for number in &self.acknowledged {
            if !ledger.contains_key(number) {
                return Err(format!("transfer {number} was acknowledged and is lost"));
            }
        }
        for number in &self.refused {
            if ledger.contains_key(number) {
                return Err(format!("transfer {number} was rolled back and is there"));
            }
        }
        let mut expected: BTreeMap<i64, i64> = (0..ACCOUNTS).map(|account| (account, OPENING)).collect();
        for (number, transfer) in ledger {
            if self.attempted.get(number) != Some(transfer) {
                return Err(format!("transfer {number} is {transfer:?}, not {:?}", self.attempted.get(number)));
            }
            *expected.get_mut(&transfer.from).expect("accounts are fixed") -= transfer.amount;
            *expected.get_mut(&transfer.to).expect("accounts are fixed") += transfer.amount;
        }
        if *accounts != expected {
            return Err(format!("balances {accounts:?} do not follow from the ledger: {expected:?}"));
        }
        for (counter, value) in counters {
            let (begun, acknowledged) = self.increments.get(counter).copied().unwrap_or_default();
            if *value < acknowledged || *value > begun {
                return Err(format!("counter {counter} is {value}; {acknowledged} increments were acknowledged, {begun} begun"));
            }
        }
        Ok(())
    }
}

impl Drop for History {
    fn drop(&mut self) {
        let mut totals = TOTALS.get();
        totals.add(&Totals {
            commits: self.acknowledged.len() as u64,
            large: self.acknowledged.iter().filter(|number| self.attempted[number].notes > 0).count() as u64,
            deadlocks: self.deadlocks,
            lists: self.lists.counts(),
            disk_full: self.disk_full,
            disk_failures: self.disk_failures,
            put_off: self.put_off,
            changes: self.changes,
            decided: self.decided,
            found_prepared: self.found_prepared,
        });
        TOTALS.set(totals);
    }
}
