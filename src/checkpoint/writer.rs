//! Writes one core's data file: entries in order, in large aligned writes, synced at the end.

use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::format::{BLOCK_BYTES_TARGET, DataHeader, EntryRef, Footer, encode_block};
use super::manifest::DataFile;
use super::{CheckpointId, checkpoint_directory, data_file_path};
use crate::base::{CommitTs, CoreId, StorageId};
use crate::runtime::fs::{self, File, OpenMode};
use crate::runtime::{BLOCK, IoBuf};
use crate::storage::Key;
use crate::storage::KeyRef;

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// Streams a core's rows into its data file. Used on the core that created it. Dropped unfinished, it leaves a file that no manifest
/// names and that `remove_old_checkpoints` removes.
#[derive(Debug)]
pub struct CheckpointWriter {
    file: File,
    directory: PathBuf,
    header: DataHeader,
    /// Entries of the block that is being filled.
    payload: Vec<u8>,
    payload_entries: u32,
    /// Finished blocks not yet written.
    out: Vec<u8>,
    written: u64,
    footer: Footer,
    last: Option<(StorageId, Key)>,
}

impl CheckpointWriter {
    /// Begins the data file of `core` in checkpoint `id`, which holds commits up to `through`.
    pub async fn create(root: &Path, id: CheckpointId, core: CoreId, through: CommitTs) -> Result<Self, CheckpointError> {
        assert!(id.0 > 0, "checkpoints count from 1");
        let directory = checkpoint_directory(root);
        let path = data_file_path(root, id, core);
        fs::create_dir_all(&directory).await.map_err(|error| CheckpointError::io("creating", &directory, error))?;
        fs::sync_dir(root).await.map_err(|error| CheckpointError::io("syncing", root, error))?;
        let file = File::open(&path, OpenMode::CREATE).await.map_err(|error| CheckpointError::io("creating", &path, error))?;
        // A file of the same name is left over from an attempt that failed.
        file.truncate(0).await.map_err(|error| CheckpointError::io("clearing", &path, error))?;
        let header = DataHeader { id, core, through };
        Ok(Self {
            file,
            directory,
            header,
            payload: Vec::new(),
            payload_entries: 0,
            out: header.encode(),
            written: 0,
            footer: Footer::default(),
            last: None,
        })
    }

    /// Adds a row. Waits only when a write's worth has been gathered.
    ///
    /// # Panics
    /// If the entries do not ascend by storage and key, or one is newer than the checkpoint.
    pub async fn push(&mut self, entry: EntryRef<'_>) -> Result<(), CheckpointError> {
        self.check_order(&entry);
        assert!(entry.ts <= self.header.through, "a checkpoint holds nothing newer than itself");
        entry.encode(&mut self.payload);
        self.payload_entries += 1;
        if self.payload.len() >= BLOCK_BYTES_TARGET {
            self.close_block();
            if self.out.len() >= WRITE_BYTES {
                self.write_whole_blocks().await?;
            }
        }
        Ok(())
    }

    fn check_order(&mut self, entry: &EntryRef<'_>) {
        match &mut self.last {
            Some((storage, key)) => {
                assert!((*storage, KeyRef::from(&*key)) < entry.place(), "entries ascend by storage and key");
                *storage = entry.storage;
                if let (Key::Int(last), KeyRef::Int(next)) = (&mut *key, entry.key) {
                    *last = next;
                } else {
                    *key = entry.key.to_key();
                }
            }
            None => self.last = Some((entry.storage, entry.key.to_key())),
        }
    }

    fn close_block(&mut self) {
        encode_block(self.footer.blocks, self.payload_entries, &self.payload, &mut self.out);
        self.footer.blocks += 1;
        self.footer.entries += u64::from(self.payload_entries);
        self.payload.clear();
        self.payload_entries = 0;
    }

    /// Writes what fills whole blocks of the disk and keeps the rest.
    async fn write_whole_blocks(&mut self) -> Result<(), CheckpointError> {
        let whole = self.out.len() / BLOCK * BLOCK;
        if whole > 0 {
            self.write(whole).await?;
            self.out.drain(..whole);
        }
        Ok(())
    }

    async fn write(&mut self, bytes: usize) -> Result<(), CheckpointError> {
        let buffer = IoBuf::padded(&self.out[..bytes]);
        let outcome = self.file.write_at(&buffer, self.written).await;
        outcome.map_err(|error| CheckpointError::io("writing", self.file.path(), error))?;
        self.written += bytes as u64;
        Ok(())
    }

    /// Rows so far.
    pub fn entries(&self) -> u64 {
        self.footer.entries + u64::from(self.payload_entries)
    }

    /// Writes the rest and the footer and makes the file durable. What it returns belongs into the manifest.
    pub async fn finish(mut self) -> Result<DataFile, CheckpointError> {
        if self.payload_entries > 0 {
            self.close_block();
        }
        self.footer.encode(&mut self.out);
        self.write_whole_blocks().await?;
        if !self.out.is_empty() {
            self.write(self.out.len()).await?;
        }
        let path = self.file.path();
        self.file.truncate(self.written).await.map_err(|error| CheckpointError::io("ending", path, error))?;
        self.file.sync_data().await.map_err(|error| CheckpointError::io("syncing", path, error))?;
        let directory = &self.directory;
        fs::sync_dir(directory).await.map_err(|error| CheckpointError::io("syncing", directory, error))?;
        Ok(DataFile { core: self.header.core, bytes: self.written, entries: self.footer.entries })
    }
}
