//! Advisory locks as sessions ask for them: waiting, deadlocks, and the end of what a transaction has locked.

use std::sync::Arc;

use crate::shard::engine::Engine;
use crate::shard::error::EngineResult;
use crate::shard::txn_handle::Txn;
use crate::txn::LockWait;
use crate::txn::advisory::{AdvisoryKey, AdvisoryLevel, AdvisoryMode, SessionLocks};

impl Engine {
    /// Locks for the session with this process id or for its transaction. `false`: somebody is in the way, and there was to be no
    /// wait.
    pub async fn advisory_lock(
        &self,
        txn: &mut Txn,
        pid: i32,
        key: AdvisoryKey,
        mode: AdvisoryMode,
        level: AdvisoryLevel,
        wait: LockWait,
    ) -> EngineResult<bool> {
        let locks = self.session_locks(txn, pid);
        let locked = match wait {
            LockWait::Block => {
                if let Some(pending) = locks.lock(key, mode, level) {
                    self.wait_for_row(txn.id, pending, txn.waits).await?;
                }
                true
            }
            LockWait::NoWait | LockWait::SkipLocked => locks.try_lock(key, mode, level),
        };
        if locked && level == AdvisoryLevel::Transaction {
            txn.advisory.push((txn.command, key, mode));
        }
        Ok(locked)
    }

    /// Undoes one lock of the session; `false` if there is none.
    pub fn advisory_unlock(&self, txn: &mut Txn, pid: i32, key: AdvisoryKey, mode: AdvisoryMode) -> bool {
        self.session_locks(txn, pid).unlock(key, mode, AdvisoryLevel::Session)
    }

    /// Undoes all locks of the session.
    pub fn advisory_unlock_all(&self, txn: &mut Txn, pid: i32) {
        self.session_locks(txn, pid).unlock_all();
    }

    fn session_locks(&self, txn: &mut Txn, pid: i32) -> Arc<SessionLocks> {
        if txn.session_locks.is_none() {
            txn.set_session_locks(Arc::new(SessionLocks::new(&self.0.shared.advisory, pid)));
        }
        Arc::clone(txn.session_locks.as_ref().expect("there are some now"))
    }

    /// Undoes what a transaction has locked from a command on.
    pub(super) fn release_advisory_locks(&self, txn: &mut Txn, command: u32) {
        let Some(locks) = &txn.session_locks else { return };
        txn.advisory.retain(|(taken, key, mode)| {
            let kept = *taken < command;
            if !kept {
                locks.unlock(*key, *mode, AdvisoryLevel::Transaction);
            }
            kept
        });
    }
}
