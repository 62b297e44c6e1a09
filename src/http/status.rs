//! The state of the server as a whole, written by the assembly, read by `/health`.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Before recovery.
    Starting = 0,
    /// Loading the checkpoint and replaying logs.
    Recovering = 1,
    /// Serving.
    Serving = 2,
    /// Shutting down.
    Stopping = 3,
    /// Something went wrong that only a restart can mend (a failed log write).
    Failed = 4,
    /// Letting transactions finish before it stops; new clients are told to go elsewhere.
    Draining = 5,
}

impl Phase {
    const ALL: [Phase; 6] = [Phase::Starting, Phase::Recovering, Phase::Serving, Phase::Stopping, Phase::Failed, Phase::Draining];

    /// As it is told.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Recovering => "recovering",
            Phase::Serving => "serving",
            Phase::Stopping => "stopping",
            Phase::Failed => "failed",
            Phase::Draining => "draining",
        }
    }
}

/// Shared between the assembly and the control plane. Written rarely, so plain atomics do.
#[derive(Debug)]
pub struct ServerStatus {
    started: Instant,
    cores: usize,
    phase: AtomicU8,
    recovered_transactions: AtomicU64,
    recovery_ms: AtomicU64,
}

impl ServerStatus {
    /// Of a server that starts now, with so many cores.
    pub fn new(cores: usize) -> Self {
        Self {
            started: Instant::now(),
            cores,
            phase: AtomicU8::new(Phase::Starting as u8),
            recovered_transactions: AtomicU64::new(0),
            recovery_ms: AtomicU64::new(0),
        }
    }

    /// Enter a phase.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Recovery finished: how many transactions were replayed from the logs, and how long it all took.
    pub fn set_recovered(&self, transactions: u64, took: Duration) {
        self.recovered_transactions.store(transactions, Ordering::Relaxed);
        self.recovery_ms.store(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Transactions replayed at start.
    pub fn recovered_transactions(&self) -> u64 {
        self.recovered_transactions.load(Ordering::Relaxed)
    }

    /// Milliseconds that recovery took.
    pub fn recovery_ms(&self) -> u64 {
        self.recovery_ms.load(Ordering::Relaxed)
    }

    /// Cores.
    pub fn cores(&self) -> usize {
        self.cores
    }

    /// Since start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}
