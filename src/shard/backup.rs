//! Backups of a running server: a fresh checkpoint, and each core's log up to the moment it is copied.
//!
//! Both are what a crash could have left, so a backup is a data directory, and starting on it is recovery as ever: the cut drops what
//! one core's log has and another's lacks. While a backup is made no checkpoint is, so that nothing it copies is replaced
//! or recycled. It is written beside its place and renamed into it at the end: what bears its name is whole.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::{CommitTs, CoreId};
use crate::checkpoint::{CheckpointError, HBA_FILE, Manifest, SECRET_FILE, checkpoint_directory, data_file_path};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::runtime::fs;
use crate::shard::engine::{Engine, join_calls};
use crate::shard::messages::{Reply, Request};
use crate::wal::{WalError, log_directory};

/// The largest file of settings that is copied.
const SMALL_FILE_BYTES_MAX: usize = 16 << 20;

/// What a backup has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// Every commit up to here is in it; some later ones may be.
    pub through: CommitTs,
    /// Rows of its checkpoint.
    pub rows: u64,
    /// Bytes of all its files that count.
    pub bytes: u64,
}

/// A failed file operation, as the client is told of it.
fn failed(doing: &str, path: &Path, error: &io::Error) -> SqlError {
    refusal(fs::is_disk_full(error), &format_args!("{doing} {}: {error}", path.display()))
}

fn checkpoint_failed(error: CheckpointError) -> SqlError {
    refusal(error.is_disk_full(), &error)
}

fn refusal(is_disk_full: bool, what: &dyn Display) -> SqlError {
    let state = if is_disk_full { SqlState::DISK_FULL } else { SqlState::IO_ERROR };
    SqlError::new(state, format!("backup failed: {what}"))
}

/// Where a backup is written until it is whole.
pub fn unfinished(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

impl Engine {
    /// Has core 0 write a backup into `target`, an absolute path of a directory that does not exist or is empty.
    pub async fn request_backup(&self, target: PathBuf) -> SqlResult<BackupReport> {
        if !target.is_absolute() || target.file_name().is_none() {
            return Err(SqlError::new(SqlState::INVALID_NAME, "relative path not allowed for BACKUP"));
        }
        if self.0.core == CoreId(0) {
            return self.backup_in_turn(&target).await;
        }
        match self.ask(CoreId(0), Request::TakeBackup(target)).await {
            Reply::BackedUp(result) => result,
            _ => Err(SqlError::new(SqlState::CANNOT_CONNECT_NOW, "core 0 gave up on the backup")),
        }
    }

    /// Writes a backup when no checkpoint is under way any more.
    pub(super) async fn backup_in_turn(&self, target: &Path) -> SqlResult<BackupReport> {
        let root = self.0.shared.root.get().cloned();
        let root = root.ok_or_else(|| SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the server has not recovered yet"))?;
        let _turn = self.checkpoint_turn().await;
        let partial = unfinished(target);
        claim(target, &partial).await?;
        tracing::info!(target = %target.display(), "a backup begins");
        let outcome = self.write_backup(&root, &partial, target).await;
        match &outcome {
            Ok(report) => {
                tracing::info!(target = %target.display(), through = report.through.0, bytes = report.bytes, "a backup is complete");
            }
            Err(error) => {
                tracing::error!(target = %target.display(), %error, "a backup failed");
                if let Err(error) = fs::remove_dir_all(&partial).await {
                    tracing::warn!(path = %partial.display(), %error, "what a failed backup has left could not be removed");
                }
            }
        }
        outcome
    }

    async fn write_backup(&self, root: &Path, partial: &Path, target: &Path) -> SqlResult<BackupReport> {
        let checkpoint = self.measured_checkpoint(root).await?;
        let manifest = Manifest::read(root).await.map_err(checkpoint_failed)?;
        let directory = checkpoint_directory(partial);
        fs::create_dir_all(&directory).await.map_err(|error| failed("creating", &directory, &error))?;
        let mut bytes = 0;
        for file in &manifest.files {
            let from = data_file_path(root, manifest.checkpoint, file.core);
            let to = data_file_path(partial, manifest.checkpoint, file.core);
            fs::copy_file(&from, &to, file.bytes, file.bytes).await.map_err(|error| failed("copying", &from, &error))?;
            bytes += file.bytes;
        }
        fs::sync_dir(&directory).await.map_err(|error| failed("syncing", &directory, &error))?;
        let cores = (0..self.0.shared.cores).map(|core| CoreId(core as u16));
        let calls = cores.map(|core| (core, self.copy_log_on(core, partial))).collect();
        for (_, copied) in join_calls(calls).await {
            bytes += copied?;
        }
        for name in [HBA_FILE, SECRET_FILE] {
            copy_small_file(&root.join(name), &partial.join(name)).await?;
        }
        manifest.write(partial).await.map_err(checkpoint_failed)?;
        fs::rename(partial, target).await.map_err(|error| failed("renaming", partial, &error))?;
        let parent = target.parent().expect("it has a name");
        fs::sync_dir(parent).await.map_err(|error| failed("syncing", parent, &error))?;
        Ok(BackupReport { through: checkpoint.through, rows: checkpoint.rows, bytes })
    }

    async fn copy_log_on(&self, core: CoreId, partial: &Path) -> SqlResult<u64> {
        if core == self.0.core {
            return self.copy_log_here(partial).await;
        }
        match self.ask(core, Request::CopyLog(partial.to_owned())).await {
            Reply::LogCopied(result) => result,
            _ => Err(SqlError::new(SqlState::CANNOT_CONNECT_NOW, format!("core {core} gave up during a backup"))),
        }
    }

    /// Copies this core's log.
    pub(super) async fn copy_log_here(&self, partial: &Path) -> SqlResult<u64> {
        let wal = self.0.shard.borrow().wal.clone();
        let wal = wal.ok_or_else(|| SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the log is not open"))?;
        let directory = log_directory(partial, self.0.core);
        fs::create_dir_all(&directory).await.map_err(|error| failed("creating", &directory, &error))?;
        let copied = wal.copy_to(&directory).await.map_err(|error| match &error {
            WalError::Io { cause, path, doing } => failed(doing, path, cause),
            other => refusal(false, other),
        })?;
        for upper in directory.ancestors().skip(1).take(2) {
            fs::sync_dir(upper).await.map_err(|error| failed("syncing", upper, &error))?;
        }
        Ok(copied)
    }
}

/// Makes the directory that a backup is written into. Fails if the target has something in it, or another backup is being written there.
async fn claim(target: &Path, partial: &Path) -> SqlResult<()> {
    let exists = |error: io::Error| failed("looking at", target, &error);
    if fs::exists(target).await.map_err(exists)? && !fs::list_dir(target).await.map_err(exists)?.is_empty() {
        let what = format!("directory \"{}\" exists but is not empty", target.display());
        return Err(SqlError::new(SqlState::DUPLICATE_FILE, what));
    }
    if fs::exists(partial).await.map_err(exists)? {
        let what = format!("directory \"{}\" exists", partial.display());
        let error = SqlError::new(SqlState::DUPLICATE_FILE, what);
        return Err(
            error.hint("It is what an interrupted backup has left. Remove it, unless another server is writing a backup there.")
        );
    }
    fs::create_dir_all(partial).await.map_err(|error| failed("creating", partial, &error))
}

async fn copy_small_file(from: &Path, to: &Path) -> SqlResult<()> {
    if !fs::exists(from).await.map_err(|error| failed("looking for", from, &error))? {
        return Ok(());
    }
    let bytes = fs::read_small_file(from, SMALL_FILE_BYTES_MAX).await.map_err(|error| failed("reading", from, &error))?;
    fs::write_file_atomically(to, &bytes).await.map_err(|error| failed("writing", to, &error))
}
