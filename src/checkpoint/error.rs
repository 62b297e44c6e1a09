//! What can go wrong with checkpoints.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::runtime::fs;
use crate::wal::Damage;

/// An error of a checkpoint or the manifest. None of them has changed the current checkpoint.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A file operation failed.
    #[error("{doing} {}: {cause}", path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file is not what was written.
    #[error("{} is corrupt at offset {offset}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Written by another version.
    #[error("{} has format version {found}, this server reads version {supported}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this server can read.
        supported: u32,
    },
    /// There are logs and no manifest that says what in them counts.
    #[error("{} has a write-ahead log but no MANIFEST: restore it, or the whole directory, from a backup", path.display())]
    ManifestMissing {
        /// The data directory.
        path: PathBuf,
    },
}

impl CheckpointError {
    pub(super) fn io(doing: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), cause }
    }

    pub(super) fn corrupt(path: &Path, offset: u64, what: &'static str) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, what }
    }

    /// Whether a file is not what was written.
    pub fn is_damage(&self) -> bool {
        matches!(self, CheckpointError::Corrupt { .. })
    }

    /// The damaged place, if the error is about one; any other error comes back.
    pub fn into_damage(self) -> Result<Damage, Self> {
        match self {
            CheckpointError::Corrupt { path, offset, what } => Ok(Damage { path, offset, bytes: 0, what: what.to_owned() }),
            CheckpointError::Io { path, cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                Ok(Damage { path, offset: 0, bytes: 0, what: "the file is missing".to_owned() })
            }
            other => Err(other),
        }
    }

    /// Whether the file system is full: the checkpoint is tried again later.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, CheckpointError::Io { cause, .. } if fs::is_disk_full(cause))
    }
}
