//! Checkpoints: everything committed up to a timestamp K, so that a restart reads little log and old log can go.
//!
//! Each core writes what it owns into one sorted data file; then one manifest, replaced atomically, makes the checkpoint the current one.
//! The manifest also remembers the incarnations of the log (see `wal`), so that one small file decides what counts after a crash.
//!
//! | file | role |
//! |---|---|
//! | `directory` | the data directory: layout, lock |
//! | `format` | the bytes of a data file: header, blocks, footer |
//! | `writer`, `reader` | data files, streamed |
//! | `manifest` | the manifest, and removing what it no longer names |
//! | `aside` | putting a damaged directory's files aside |
//!
//! Order of durability, which recovery rests on: data files and their directory entries, then the manifest, and only then are
//! old files removed and log segments recycled. Byte layouts: docs/storage-format.md.

mod aside;
mod directory;
mod error;
mod format;
mod manifest;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use aside::{finish_setting_aside, replace_and_set_aside};
pub use directory::{DataDir, DataDirError, HBA_FILE, SECRET_FILE};
pub use error::CheckpointError;
pub use format::{BlockRef, Entries, EntryRef, decode_block};
pub use manifest::{DataFile, MANIFEST_FORMAT, Manifest, discard_attempts, remove_old_checkpoints};
pub use reader::CheckpointReader;
pub use writer::CheckpointWriter;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::CoreId;

/// A checkpoint: 1, 2, 3, …; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId(pub u64);

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The directory of the data files below the data directory.
pub fn checkpoint_directory(root: &Path) -> PathBuf {
    root.join("checkpoint")
}

/// The data file of one core.
pub fn data_file_path(root: &Path, id: CheckpointId, core: CoreId) -> PathBuf {
    checkpoint_directory(root).join(format!("{:016x}-{core}.data", id.0))
}

/// The checkpoint that a data file's name belongs to.
fn parse_data_file_name(name: &str) -> Option<CheckpointId> {
    let (id, core) = name.strip_suffix(".data")?.split_once('-')?;
    core.parse::<u16>().ok()?;
    (id.len() == 16).then(|| u64::from_str_radix(id, 16).ok().map(CheckpointId))?
}
