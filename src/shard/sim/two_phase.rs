//! Transfers in two phases: one client prepares, another decides, perhaps after a restart.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::base::StorageId;
use crate::error::SqlState;
use crate::runtime;
use crate::shard::sim::history::{History, Phase, Transfer};
use crate::shard::two_phase::PrepareAs;
use crate::shard::{Engine, EngineError, Txn};
use crate::storage::Key;
use crate::txn::{Isolation, LockStrength, LockWait};

/// Prepares a transfer and leaves it to others.
pub async fn prepare(engine: &Engine, txn: Txn, history: &Rc<RefCell<History>>, number: i64) -> Result<(), String> {
    history.borrow_mut().prepared.insert(number, Phase::Preparing);
    let said = PrepareAs { gid: number.to_string(), owner: "sim".into(), database: "bank".into(), now_micros: 0 };
    let outcome = engine.prepare_transaction(txn, said).await;
    let mut history = history.borrow_mut();
    match outcome {
        Ok(()) => {
            history.prepared.insert(number, Phase::Prepared);
            Ok(())
        }
        // To be prepared, it has to have the rows for itself that it has added to.
        Err(error)
            if error.message().starts_with("maximum number")
                || error.message().starts_with("deadlock")
                || error.code() == SqlState::DISK_FULL =>
        {
            history.prepared.remove(&number);
            history.refused.push(number);
            Ok(())
        }
        Err(error) => Err(format!("a transfer could not be prepared: {error}")),
    }
}

/// Decides a transfer that waits for it, if there is one.
pub async fn decide_one(engine: &Engine, history: &Rc<RefCell<History>>) -> Result<(), String> {
    let commits = !runtime::random_u64().is_multiple_of(3);
    let number = {
        let mut history = history.borrow_mut();
        let Some(number) = history.undecided(runtime::random_u64()) else { return Ok(()) };
        history.prepared.insert(number, if commits { Phase::Committing } else { Phase::RollingBack });
        number
    };
    let gid = number.to_string();
    let outcome = if commits { engine.commit_prepared(&gid).await } else { engine.rollback_prepared(&gid).await };
    let mut history = history.borrow_mut();
    match outcome {
        Ok(_) => history.settle(number, commits),
        Err(error) if error.code() == SqlState::DISK_FULL => {
            history.prepared.insert(number, Phase::Prepared);
        }
        Err(error) => return Err(format!("transfer {number} could not be decided: {error}")),
    }
    Ok(())
}

/// The transfers that are listed as prepared.
pub fn listed(engine: &Engine) -> BTreeSet<i64> {
    let listed = engine.shared().prepared.list();
    listed.iter().map(|info| info.gid.parse().expect("the simulator's are numbers")).collect()
}

/// What is prepared is listed, unseen, and in the way of others.
pub async fn check(
    engine: &Engine,
    accounts: StorageId,
    history: &Rc<RefCell<History>>,
    ledger: &BTreeMap<i64, Transfer>,
) -> Result<(), String> {
    history.borrow_mut().learn_prepared(&listed(engine), ledger)?;
    let waiting: Vec<(i64, Transfer)> = {
        let history = history.borrow();
        history.waiting().map(|number| (number, history.attempted[&number])).collect()
    };
    for (number, transfer) in waiting {
        for account in [transfer.from, transfer.to] {
            let mut txn = engine.begin(Isolation::ReadCommitted, false);
            let view = engine.write_view(&mut txn);
            let keys = vec![Key::Int(account)];
            let locked = engine.lock_rows(&mut txn, &view, accounts, keys, LockStrength::Update, LockWait::NoWait, None).await;
            engine.abort(txn).await;
            if locked.err() != Some(EngineError::LockNotAvailable) {
                return Err(format!("transfer {number} is prepared, and account {account} is free"));
            }
        }
    }
    Ok(())
}
