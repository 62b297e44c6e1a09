//! An addition that cannot be carried out when its transaction settles is put off still.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::StorageId;
use crate::error::{SqlError, SqlResult};
use crate::mesh::{Fabric, MeshConfig};
use crate::runtime::sim::Sim;
use crate::runtime::{self, QueueClass};
use crate::shard::{Engine, EngineError, EngineLimits, RecoveryOptions, RowAction, RowOutput, RowUpdate, Shared, Txn, no_tables};
use crate::storage::{Key, KeyKind};
use crate::txn::Isolation;
use crate::wal::WalOptions;

const ROOT: &str = "/data";
const KEY: Key = Key::Int(1);

/// Adds to a row of one byte, after it has failed so many times.
struct Add {
    by: u8,
    failures: AtomicU32,
}

impl RowUpdate for Add {
    fn apply(&self, row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction> {
        let left = self.failures.load(Ordering::Relaxed);
        if left > 0 {
            self.failures.store(left - 1, Ordering::Relaxed);
            return Err(SqlError::internal("not yet"));
        }
        out.row.push(row[0] + self.by);
        Ok(RowAction::Replace)
    }

    fn commutes(&self, _row: &[u8]) -> bool {
        true
    }
}

async fn add(engine: &Engine, txn: &mut Txn, storage: StorageId, by: u8, failures: u32) {
    let view = engine.write_view(txn);
    let program = Arc::new(Add { by, failures: AtomicU32::new(failures) });
    let done = engine.modify(txn, &view, storage, KEY, program).await.expect("the row is there");
    assert_eq!(done.action, RowAction::Replace);
}

async fn test(engine: Engine) {
    runtime::fs::create_dir_all(ROOT).await.expect("a directory");
    let options = RecoveryOptions {
        on_damage: Default::default(),
        root: ROOT.into(),
        log_options: Arc::new(|core, incarnation| WalOptions::new(ROOT, core, incarnation)),
        storage_kinds: no_tables(),
    };
    engine.recover(&options).await.expect("a new directory");
    let mut first = engine.begin(Isolation::ReadCommitted, false);
    let storage = engine.create_storage(&mut first, KeyKind::Int).await.expect("a storage");
    let view = engine.write_view(&mut first);
    engine.insert(&mut first, &view, storage, vec![(KEY, vec![0])]).await.expect("the key is free");
    engine.commit(first).await.expect("there is space");

    // Whoever waits for the row goes on by putting its addition off.
    let mut holder = engine.begin(Isolation::ReadCommitted, false);
    add(&engine, &mut holder, storage, 1, 0).await;
    let waiting = engine.clone();
    let adding = runtime::spawn_joinable(QueueClass::Interactive, async move {
        let mut txn = waiting.begin(Isolation::ReadCommitted, false);
        add(&waiting, &mut txn, storage, 10, 0).await;
        add(&waiting, &mut txn, storage, 100, 1).await;
        assert!(txn.has_put_off());
        txn
    });
    while engine.0.shard.borrow().row_locks.waiting() == 0 {
        runtime::yield_now().await;
    }
    engine.commit(holder).await.expect("there is space");
    let mut txn = adding.await.expect("it has the row");

    let refused = engine.before_looking(&mut txn).await.expect_err("the second addition fails once");
    assert!(matches!(refused, EngineError::Program(_)), "{refused:?}");
    assert!(txn.has_put_off(), "it is not settled");
    engine.commit(txn).await.expect("now it does not fail");
    let rows = engine.get_many(&engine.read_view(None), storage, vec![KEY]).await.expect("the storage is there");
    assert_eq!(rows.iter().next().flatten(), Some(&[111][..]), "every addition once");
}

#[test]
fn an_addition_that_fails_is_not_lost() {
    for seed in 0..20 {
        let mut sim = Sim::new(seed);
        let fabric = Rc::new(Fabric::new(1, MeshConfig::default()));
        let shared = Shared::new(1, EngineLimits::default());
        let run = sim.run(1, |core| {
            let (fabric, shared) = (fabric.clone(), shared.clone());
            async move {
                let engine = Engine::install(shared, fabric.join(core));
                engine.serve();
                test(engine).await;
            }
        });
        crate::shard::engine::uninstall_all();
        run.expect_completed();
    }
}
