//! Reads a data file back, block by block, verifying all of it.

use std::path::Path;

use super::data_file_path;
use super::error::CheckpointError;
use super::format::{
    BLOCK_HEADER_BYTES, BlockRef, DataHeader, Footer, HEADER_BYTES, HeaderError, claimed_block_bytes, decode_block,
};
use super::manifest::{DataFile, Manifest};
use crate::base::StorageId;
use crate::runtime::fs::{File, OpenMode};
use crate::storage::Key;
use crate::storage::KeyRef;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// Streams the rows of one data file. Used on the core that opened it.
#[derive(Debug)]
pub struct CheckpointReader {
    file: File,
    bytes: u64,
    expected_entries: u64,
    window: Vec<u8>,
    window_start: u64,
    at: u64,
    seen: Footer,
    last: Option<(StorageId, Key)>,
    ended: bool,
}

impl CheckpointReader {
    /// Opens a data file that the manifest names.
    pub async fn open(root: &Path, manifest: &Manifest, data: &DataFile) -> Result<Self, CheckpointError> {
        let path = data_file_path(root, manifest.checkpoint, data.core);
        let file = File::open(&path, OpenMode::READ).await.map_err(|error| CheckpointError::io("opening", &path, error))?;
        let len = file.len().await.map_err(|error| CheckpointError::io("opening", &path, error))?;
        if len != data.bytes {
            return Err(CheckpointError::corrupt(&path, len.min(data.bytes), "the file's length is not what the manifest says"));
        }
        let mut reader = Self {
            file,
            bytes: data.bytes,
            expected_entries: data.entries,
            window: Vec::new(),
            window_start: 0,
            at: 0,
            seen: Footer::default(),
            last: None,
            ended: false,
        };
        reader.fill(HEADER_BYTES).await?;
        let header = DataHeader::decode(reader.rest()).map_err(|error| match error {
            HeaderError::Corrupt(what) => CheckpointError::corrupt(&path, 0, what),
            HeaderError::Version(found) => {
                CheckpointError::Version { path: path.clone(), found, supported: super::format::DATA_FORMAT }
            }
        })?;
        let expected = DataHeader { id: manifest.checkpoint, core: data.core, through: manifest.through };
        if header != expected {
            return Err(CheckpointError::corrupt(&path, 0, "the file belongs to another checkpoint"));
        }
        reader.at = HEADER_BYTES as u64;
        Ok(reader)
    }

    /// Bytes read so far, for progress.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next block of rows, or `None` after the last; then the whole file has been verified.
    pub async fn next_block(&mut self) -> Result<Option<BlockRef<'_>>, CheckpointError> {
        if self.ended {
            return Ok(None);
        }
        self.fill(BLOCK_HEADER_BYTES).await?;
        let bytes = claimed_block_bytes(self.rest()).ok_or_else(|| self.corrupt("no block has this length"))?;
        self.fill(bytes).await?;
        if self.rest().len() < bytes {
            return Err(self.corrupt("a block is cut off"));
        }
        let start = self.at;
        self.at += bytes as u64;
        if self.at == self.bytes {
            return self.end(start, bytes).map(|()| None);
        }
        self.note_block(start, bytes)?;
        Ok(Some(self.block(start, bytes)?))
    }

    fn block(&self, start: u64, bytes: usize) -> Result<BlockRef<'_>, CheckpointError> {
        let number = self.seen.blocks - 1;
        decode_block(self.window_at(start, bytes), number).map_err(|what| CheckpointError::corrupt(self.file.path(), start, what))
    }

    /// Counts a block and checks that it goes on where the one before it ended.
    fn note_block(&mut self, start: u64, bytes: usize) -> Result<(), CheckpointError> {
        self.seen.blocks += 1;
        let block = self.block(start, bytes)?;
        let in_order = self.last.as_ref().is_none_or(|(storage, key)| (*storage, KeyRef::from(key)) < block.first.place());
        let (entries, last) = (block.entries().len() as u64, (block.last.storage, block.last.key.to_key()));
        if !in_order {
            return Err(CheckpointError::corrupt(self.file.path(), start, "the blocks are not in order"));
        }
        self.seen.entries += entries;
        self.last = Some(last);
        Ok(())
    }

    fn end(&mut self, start: u64, bytes: usize) -> Result<(), CheckpointError> {
        let corrupt = |what| CheckpointError::corrupt(self.file.path(), start, what);
        let footer = Footer::decode(self.window_at(start, bytes)).map_err(corrupt)?;
        if footer != self.seen || footer.entries != self.expected_entries {
            return Err(corrupt("the footer's counts are not those of the file"));
        }
        self.ended = true;
        Ok(())
    }

    fn corrupt(&self, what: &'static str) -> CheckpointError {
        CheckpointError::corrupt(self.file.path(), self.at, what)
    }

    /// Makes `len` bytes from the present position available, or as many as the file has.
    async fn fill(&mut self, len: usize) -> Result<(), CheckpointError> {
        let wanted_end = (self.at + len as u64).min(self.bytes);
        if self.at >= self.window_start && wanted_end <= self.window_start + self.window.len() as u64 {
            return Ok(());
        }
        let read = self.file.read_at(self.at, len.max(WINDOW_BYTES)).await;
        self.window = read.map_err(|error| CheckpointError::io("reading", self.file.path(), error))?;
        self.window_start = self.at;
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        let from = usize::try_from(self.at - self.window_start).expect("a window fits in memory");
        self.window.get(from..).unwrap_or_default()
    }

    fn window_at(&self, start: u64, bytes: usize) -> &[u8] {
        let from = usize::try_from(start - self.window_start).expect("a window fits in memory");
        &self.window[from..from + bytes]
    }
}
