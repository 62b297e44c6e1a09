//! A decision that cannot be made leaves the transaction prepared: tested with a log that is full on one of two cores.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{CoreId, StorageId};
use crate::error::SqlState;
use crate::mesh::{Fabric, MeshConfig};
use crate::runtime;
use crate::runtime::sim::Sim;
use crate::shard::two_phase::PrepareAs;
use crate::shard::{Engine, EngineError, EngineLimits, RecoveryOptions, Shared, no_tables};
use crate::storage::{Key, KeyKind};
use crate::txn::{Isolation, LockStrength, LockWait};
use crate::wal::{SEGMENT_BYTES_MIN, WalError, WalOptions};

const ROOT: &str = "/data";

/// What core 1 does with the space of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Free,
    ToBeTaken,
    Taken,
    ToBeFreed,
    Done,
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        runtime::sleep(Duration::from_micros(300)).await;
    }
}

/// Takes all the space that the log of this core can promise, and gives it back when told to.
async fn hold_space(engine: &Engine, space: &Cell<Space>) {
    until(|| space.get() == Space::ToBeTaken).await;
    let wal = engine.0.shard.borrow().wal.clone().expect("the log is open");
    let mut held = Vec::new();
    loop {
        match wal.reserve_wait(4000).await {
            Ok(reservation) => held.push(reservation),
            Err(WalError::DiskFull(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    space.set(Space::Taken);
    until(|| space.get() == Space::ToBeFreed).await;
    drop(held);
    space.set(Space::Free);
    until(|| space.get() == Space::Done).await;
}

/// A storage on each of the two cores.
async fn storages(engine: &Engine) -> [StorageId; 2] {
    let mut txn = engine.begin(Isolation::ReadCommitted, false);
    let mut on = [None, None];
    while on.contains(&None) {
        let storage = engine.create_storage(&mut txn, KeyKind::Int).await.expect("a storage");
        on[engine.owner(storage, &Key::Int(1)).expect("just made").index()] = Some(storage);
    }
    engine.commit(txn).await.expect("nothing to commit");
    on.map(|storage| storage.expect("both are there"))
}

async fn insert(engine: &Engine, storages: &[StorageId], key: i64) -> crate::shard::Txn {
    let mut txn = engine.begin(Isolation::ReadCommitted, false);
    for storage in storages {
        let view = engine.write_view(&mut txn);
        engine.insert(&mut txn, &view, *storage, vec![(Key::Int(key), vec![7])]).await.expect("the key is free");
    }
    txn
}

async fn is_there(engine: &Engine, storage: StorageId, key: i64) -> bool {
    let view = engine.read_view(None);
    let rows = engine.get_many(&view, storage, vec![Key::Int(key)]).await.expect("the storage is there");
    rows.iter().next().expect("one answer").is_some()
}

async fn test(engine: &Engine, space: &Cell<Space>) {
    let options = RecoveryOptions {
        on_damage: Default::default(),
        root: ROOT.into(),
        log_options: Arc::new(|core, incarnation| WalOptions {
            segment_bytes: SEGMENT_BYTES_MIN,
            spares: 1,
            ..WalOptions::new(ROOT, core, incarnation)
        }),
        storage_kinds: no_tables(),
    };
    engine.recover(&options).await.expect("a new directory");
    let on = storages(engine).await;
    let txn = insert(engine, &on, 1).await;
    let said = PrepareAs { gid: "g".into(), owner: "o".into(), database: "d".into(), now_micros: 0 };
    engine.prepare_transaction(txn, said).await.expect("there is space");

    space.set(Space::ToBeTaken);
    until(|| space.get() == Space::Taken).await;
    for _ in 0..2 {
        let refused = engine.commit_prepared("g").await.expect_err("core 1 has no space");
        assert_eq!(refused.code(), SqlState::DISK_FULL);
        assert_eq!(engine.shared().prepared.list().len(), 1);
    }
    // No promise is left that would hold back what others see, and the intents are in their way as before.
    engine.commit(insert(engine, &on[..1], 2).await).await.expect("core 0 has space");
    assert!(is_there(engine, on[0], 2).await && !is_there(engine, on[0], 1).await);
    for storage in on {
        let mut txn = engine.begin(Isolation::ReadCommitted, false);
        let view = engine.write_view(&mut txn);
        let keys = vec![Key::Int(1)];
        let locked = engine.lock_rows(&mut txn, &view, storage, keys, LockStrength::Update, LockWait::NoWait, None).await;
        assert_eq!(locked.err(), Some(EngineError::LockNotAvailable));
        engine.abort(txn).await;
    }
    space.set(Space::ToBeFreed);
    until(|| space.get() == Space::Free).await;
    engine.commit_prepared("g").await.expect("now there is space");
    assert!(is_there(engine, on[0], 1).await && is_there(engine, on[1], 1).await);
    assert!(engine.shared().prepared.list().is_empty());
}

#[test]
fn a_full_log_leaves_a_transaction_prepared() {
    for seed in 0..20 {
        let mut sim = Sim::new(seed);
        // Room for two segments a core and the manifest.
        sim.config.faults.capacity = Some(4 * SEGMENT_BYTES_MIN + (48 << 10));
        let fabric = Rc::new(Fabric::new(2, MeshConfig::default()));
        let shared = Shared::new(2, EngineLimits::default());
        let space = Rc::new(Cell::new(Space::Free));
        let run = sim.run(2, |core| {
            let (fabric, shared, space) = (fabric.clone(), shared.clone(), space.clone());
            async move {
                let engine = Engine::install(shared, fabric.join(core));
                engine.serve();
                if core == CoreId(0) {
                    runtime::fs::create_dir_all(ROOT).await.expect("a directory");
                    test(&engine, &space).await;
                    space.set(Space::Done);
                } else {
                    hold_space(&engine, &space).await;
                }
            }
        });
        crate::shard::engine::uninstall_all();
        run.expect_completed();
    }
}
