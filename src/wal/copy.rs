//! Copying a log while it is written: what a backup takes of it.
//!
//! The copy is the log as a crash could have left it: everything up to some position that was durable, and nothing after it but zeros. So
//! recovery reads it like any other.

use std::path::{Path, PathBuf};

use super::bytes::align_up;
use super::error::WalError;
use super::segment::segment_file_name;
use super::writer::Wal;
use crate::runtime::BLOCK;
use crate::runtime::fs;

/// A segment file to be copied.
struct Part {
    segment: u64,
    path: PathBuf,
    /// What counts of it, in whole blocks.
    used: u64,
    /// Its size.
    bytes: u64,
}

impl Wal {
    /// Copies everything appended until now into `directory`, which exists and is empty; durable on return. How many bytes were
    /// copied. No segment may be recycled meanwhile.
    pub async fn copy_to(&self, directory: &Path) -> Result<u64, WalError> {
        let (parts, end) = {
            let state = self.inner.state.borrow();
            let full = state.full.iter().map(|full| Part {
                segment: full.segment,
                path: full.path.clone(),
                used: full.bytes,
                bytes: full.bytes,
            });
            let current = Part {
                segment: state.current.header.segment,
                path: state.current.path.clone(),
                used: align_up(state.current.end, BLOCK as u64),
                bytes: state.current.header.segment_bytes,
            };
            (full.chain([current]).collect::<Vec<_>>(), state.appended)
        };
        self.flushed(end).await?;
        let mut copied = 0;
        for part in &parts {
            let target = directory.join(segment_file_name(part.segment));
            let outcome = fs::copy_file(&part.path, &target, part.used, part.bytes).await;
            outcome.map_err(|error| WalError::io("copying", &part.path, error))?;
            copied += part.used;
        }
        fs::sync_dir(directory).await.map_err(|error| WalError::io("syncing", directory, error))?;
        Ok(copied)
    }
}
