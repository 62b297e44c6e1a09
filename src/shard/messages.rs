//! What cores say to each other.
//!
//! Every request can be carried out by its owner without awaiting another core, so two cores can never wait for each other
//! inside a handler. A request that finds a row locked parks as a task on the owner and answers later.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::{CommitTs, CoreId, Oid, StorageId, TxnId};
use crate::catalog::system::cores::{CoreFigures, Look};
use crate::shard::api::{ReadView, RowBatch, RowFilter, RowUpdate, ScanSpec};
use crate::shard::backup::BackupReport;
use crate::shard::checkpointing::{CheckpointFailure, CheckpointReport};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::maintenance::MovedGarbage;
use crate::shard::two_phase::Effects;
use crate::storage::{Key, Tablet};
use crate::txn::lock_view::LockView;
use crate::txn::row_locks::WaitEdge;
use crate::txn::{AdvisoryLock, AdvisoryRequest, Asker, Isolation, LockStrength, LockWait, TableLock};

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// The transaction, and how it waits.
    pub asker: Asker,
    /// Its isolation level.
    pub isolation: Isolation,
    /// Its current command.
    pub command: u32,
    /// What the statement sees.
    pub view: ReadView,
}

/// A table lock that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct TableLockRequest {
    /// For whom.
    pub asker: Asker,
    /// Which table.
    pub table: Oid,
    /// How.
    pub mode: TableLock,
    /// What about a lock in the way; there is no skipping a table.
    pub wait: LockWait,
}

/// What an insert does about a key that exists.
#[derive(Clone)]
pub enum OnExisting {
    /// 23505.
    Fail,
    /// Leave it and say so.
    Skip,
    /// Run this on it.
    Update(Arc<dyn RowUpdate>),
}

/// What happened to one key of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modified {
    /// What was done.
    pub action: crate::shard::api::RowAction,
    /// What the program had to say.
    pub reply: Vec<u8>,
    /// It will be done when the transaction ends, or settles.
    pub put_off: bool,
}

/// What happened to one row of an insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It went in.
    New,
    /// The key existed and was left alone.
    Skipped,
    /// The key existed and was updated.
    Updated(Modified),
}

/// One kind of write on a run of keys of one storage.
#[derive(Clone)]
pub enum WriteJob {
    /// Insert rows.
    Insert {
        /// Keys and rows.
        rows: Arc<Vec<(Key, Vec<u8>)>>,
        /// The rows of this owner: a range of `rows`, or a selection.
        selection: Vec<u32>,
        /// What about existing keys.
        on_existing: OnExisting,
    },
    /// Update or delete.
    Modify {
        /// Keys.
        keys: Vec<Key>,
        /// What to do to each.
        program: Arc<dyn RowUpdate>,
        /// The statement has no other key.
        alone: bool,
    },
    /// Lock rows and read their newest versions.
    Lock {
        /// Keys.
        keys: Vec<Key>,
        /// Strength.
        strength: LockStrength,
        /// What about locked rows.
        wait: LockWait,
        /// Rows that still qualify.
        filter: Option<Arc<dyn RowFilter>>,
    },
    /// Wait until rows are free for what was put off.
    Settle {
        /// Keys.
        keys: Vec<Key>,
        /// Have the rows for oneself, and carry it out; else only other transactions' intents are in the way.
        alone: bool,
    },
}

/// What a [`WriteJob`] brought about.
#[derive(Clone, Debug)]
pub enum WriteOutcome {
    /// Of an insert, one a row.
    Inserted(Vec<Inserted>),
    /// Of an update or delete, one a key; of settling, none.
    Modified(Vec<Modified>),
    /// Of a lock: newest rows, `None` where there is none any more or it was skipped.
    Locked(RowBatch),
}

/// A write's answer.
#[derive(Debug)]
pub struct WriteReply {
    /// What was done, for the keys before `moved_at`.
    pub outcome: WriteOutcome,
    /// The first key (by position) that this core does not own: send it and the rest to its owner.
    pub moved_at: Option<usize>,
    /// Who had these rows before has committed no later.
    pub held_until: CommitTs,
}

/// Where a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanNext {
    /// Nowhere.
    Done,
    /// With this remaining range, here or on another core.
    Rest(crate::shard::api::KeyRange),
    /// This core does not own the start of the range: look again.
    Moved,
}

impl Request {
    /// How many rows it asks to read or write by key; 1 for everything else.
    pub fn operations(&self) -> usize {
        match self {
            Request::PointReads { reads, .. } => reads.len(),
            Request::Write { job: WriteJob::Insert { selection, .. }, .. } => selection.len(),
            Request::Write { job: WriteJob::Modify { keys, .. } | WriteJob::Lock { keys, .. }, .. } => keys.len(),
            _ => 1,
        }
    }
}

/// A request from one core to another.
pub enum Request {
    /// Read rows by key.
    PointReads {
        /// What is seen.
        view: ReadView,
        /// Which.
        reads: Vec<(StorageId, Key)>,
    },
    /// A piece of a scan.
    Scan {
        /// What is seen.
        view: ReadView,
        /// What is read, with the remaining range.
        spec: ScanSpec,
    },
    /// A write.
    Write {
        /// For whom.
        writer: Writer,
        /// Where.
        storage: StorageId,
        /// What.
        job: WriteJob,
    },
    /// Have the rows for oneself that were added to, and carry out what was put off.
    Settle(Writer),
    /// Promise to commit: reserve log space and publish a bound.
    Prepare {
        /// Whom.
        txn: TxnId,
    },
    /// Commit what was prepared. Its durability is awaited through the clock.
    Commit {
        /// Whom.
        txn: TxnId,
        /// When.
        ts: CommitTs,
        /// Every core that logs a part of it, sorted.
        participants: SmallVec<[CoreId; 4]>,
    },
    /// Commit a transaction of which this core is the only participant; answered when durable.
    CommitAlone {
        /// Whom.
        txn: TxnId,
        /// Wait for durability.
        durable: bool,
    },
    /// Abort: undo intents, release locks, end waits.
    Abort {
        /// Whom.
        txn: TxnId,
    },
    /// Take back a promise to commit: the transaction is active again.
    Withdraw {
        /// Whose.
        txn: TxnId,
    },
    /// Tell a part of what a transaction has done here.
    CollectEffects {
        /// Which.
        txn: TxnId,
        /// From where on.
        from: usize,
    },
    /// Have a recovered prepared transaction's intents and row locks again.
    RestoreEffects {
        /// Which.
        txn: TxnId,
        /// What.
        effects: Box<Effects>,
    },
    /// Undo what commands from this one on wrote and locked.
    RollbackTo {
        /// Whose.
        txn: TxnId,
        /// From this command.
        command: u32,
    },
    /// Take a strong table lock's share on this core.
    LockTable(TableLockRequest),
    /// Release table locks.
    UnlockTables {
        /// Whose.
        txn: TxnId,
        /// Which.
        tables: Vec<Oid>,
    },
    /// Take an advisory lock of this core.
    LockAdvisory(AdvisoryRequest),
    /// A session does not wait for an advisory lock any more.
    LeaveAdvisory(AdvisoryRequest),
    /// Give advisory locks back, each once.
    UnlockAdvisory {
        /// Whose.
        pid: i32,
        /// Which.
        locks: Vec<AdvisoryLock>,
    },
    /// Become the owner of a tablet.
    Adopt {
        /// The tablet.
        tablet: Box<Tablet>,
        /// What is to be collected of it.
        garbage: MovedGarbage,
    },
    /// Give a tablet away, if one can be spared.
    GiveTablet {
        /// Storage.
        storage: StorageId,
        /// How many more keys of it this core has than the other.
        surplus: usize,
        /// New owner.
        to: CoreId,
    },
    /// Forget a storage and free its memory.
    DropStorage(StorageId),
    /// A step of recovery, directed by core 0.
    Boot(crate::shard::recovery::BootStep),
    /// Recovered writes.
    Replay(Box<crate::shard::recovery::RecoveredWrites>),
    /// Who waits for whom here.
    WaitEdges,
    /// What is locked here.
    Locks,
    /// Write this core's part of a checkpoint.
    Checkpoint {
        /// Number of the checkpoint.
        id: crate::checkpoint::CheckpointId,
        /// Everything up to it.
        through: CommitTs,
        /// Where.
        root: std::path::PathBuf,
    },
    /// End a storage's last tablet where hidden keys that were given out end, so that fresh ranges can follow.
    CutRowIds(StorageId),
    /// A checkpoint is complete: recycle log up to it.
    CheckpointDone(CommitTs),
    /// Collect garbage now.
    CollectGarbage,
    /// Tell what the core counts and times, and what it has.
    Look(Look),
    /// Draw a random sample of rows.
    Sample {
        /// What is seen.
        view: ReadView,
        /// Of what.
        storage: StorageId,
        /// How many at most.
        rows_max: usize,
    },
    /// This core's figures.
    Stats,
    /// Take a checkpoint of all cores; core 0 directs it.
    TakeCheckpoint,
    /// Core 0: take a checkpoint and write a backup there.
    TakeBackup(std::path::PathBuf),
    /// Copy the core's log into the backup there.
    CopyLog(std::path::PathBuf),
    /// Run this on the core: how the server places connections and gathers figures, which the engine knows nothing of.
    Run(Box<dyn FnOnce() -> Box<dyn std::any::Any + Send> + Send>),
    /// Write out the log and stop accepting writes.
    Shutdown,
}

/// An answer.
pub enum Reply {
    /// To `PointReads` and `Scan`.
    Rows(EngineResult<(RowBatch, ScanNext)>),
    /// To `Write`.
    Write(EngineResult<WriteReply>),
    /// To most others.
    Done(EngineResult<()>),
    /// To `Prepare`: whether there is anything to commit here.
    Prepared(EngineResult<bool>),
    /// To `CommitAlone`.
    Committed(EngineResult<CommitTs>),
    /// To `CollectEffects`.
    Effects(Box<Effects>),
    /// To `LockAdvisory`: whether it has the lock.
    Held(EngineResult<bool>),
    /// To `WaitEdges`.
    Edges(Vec<WaitEdge>),
    /// To `Locks`.
    Locks(Vec<LockView>),
    /// To `CutRowIds`: where it was cut.
    CutAt(EngineResult<i64>),
    /// To `GiveTablet`: how many keys went.
    Given(usize),
    /// To `Checkpoint`.
    Checkpointed(Result<Option<crate::checkpoint::DataFile>, CheckpointFailure>),
    /// To `Boot`.
    Booted(Result<crate::shard::recovery::BootReply, String>),
    /// To `TakeBackup`.
    BackedUp(crate::error::SqlResult<BackupReport>),
    /// To `CopyLog`: bytes.
    LogCopied(crate::error::SqlResult<u64>),
    /// To `TakeCheckpoint`.
    CheckpointTaken(Result<CheckpointReport, CheckpointFailure>),
    /// To `Run`.
    Ran(Box<dyn std::any::Any + Send>),
    /// To `Look`.
    Figures(Box<CoreFigures>),
    /// To `Sample`.
    Sampled(Box<crate::shard::sample::CoreSample>),
    /// To `Stats`.
    Stats(Box<crate::shard::stats::ShardStats>),
    /// To anything: the handler gave up.
    Failed,
}

impl Reply {
    /// The rows.
    pub fn rows(self) -> EngineResult<(RowBatch, ScanNext)> {
        if let Reply::Rows(result) = self { result } else { Err(EngineError::Internal("a read was not answered with rows")) }
    }

    /// The result of a write.
    pub fn write(self) -> EngineResult<WriteReply> {
        if let Reply::Write(result) = self { result } else { Err(EngineError::Internal("a write was not answered as one")) }
    }

    /// A plain result.
    pub fn done(self) -> EngineResult<()> {
        if let Reply::Done(result) = self { result } else { Err(EngineError::Internal("a request was not acknowledged")) }
    }

    /// A vote.
    pub fn prepared(self) -> EngineResult<bool> {
        if let Reply::Prepared(result) = self {
            result
        } else {
            Err(EngineError::Internal("a prepare was not answered with a vote"))
        }
    }

    /// A commit's timestamp.
    pub fn committed(self) -> EngineResult<CommitTs> {
        if let Reply::Committed(result) = self {
            result
        } else {
            Err(EngineError::Internal("a commit was not answered with a time"))
        }
    }

    /// A part of what a transaction has done.
    pub fn effects(self) -> EngineResult<Effects> {
        if let Reply::Effects(effects) = self {
            Ok(*effects)
        } else {
            Err(EngineError::Internal("a transaction's effects were not told"))
        }
    }

    /// Whether a lock is held.
    pub fn held(self) -> EngineResult<bool> {
        if let Reply::Held(result) = self { result } else { Err(EngineError::Internal("a lock was not answered for")) }
    }

    /// Who waits for whom; nobody, if the core could not say.
    pub fn edges(self) -> Vec<WaitEdge> {
        if let Reply::Edges(edges) = self { edges } else { Vec::new() }
    }
}
