//! (header to be written by the module's author)
use crate::base::*;
use std::path::Path;
pub struct DataDir;
impl DataDir {
    pub fn path(&self) -> &Path {
        todo!()
    }
}
#[derive(Clone)]
pub struct DataFile {
    pub entries: u64,
    pub bytes: u64,
}
#[derive(Clone, Copy)]
pub struct CheckpointId(pub u64);
#[derive(Clone)]
pub struct Manifest {
    pub through: CommitTs,
    pub files: Vec<DataFile>,
    pub history: crate::wal::IncarnationHistory,
    pub incarnation: crate::wal::Incarnation,
}
impl Default for Manifest {
    fn default() -> Self {
        todo!()
    }
}
impl Manifest {
    pub async fn read(_: &DataDir) -> Result<Option<Manifest>, String> {
        todo!()
    }
    pub async fn write(&self, _: &DataDir) -> Result<(), String> {
        todo!()
    }
    pub fn next_incarnation(&self, _: CommitTs) -> Manifest {
        todo!()
    }
    pub fn next_checkpoint(&self) -> CheckpointId {
        todo!()
    }
    pub fn with_checkpoint(&self, _: CheckpointId, _: CommitTs, _: Vec<DataFile>) -> Manifest {
        todo!()
    }
}
pub async fn remove_old_checkpoints(_: &DataDir, _: &Manifest) -> Result<(), String> {
    todo!()
}
pub struct Entry<'a> {
    pub storage: StorageId,
    pub key: crate::wal::KeyRef<'a>,
    pub ts: CommitTs,
    pub value: &'a [u8],
}
pub struct Block;
impl Block {
    pub fn entries(&self) -> std::vec::IntoIter<Entry<'_>> {
        todo!()
    }
}
pub struct CheckpointReader;
impl CheckpointReader {
    pub async fn open(_: &DataDir, _: &DataFile) -> Result<Self, String> {
        todo!()
    }
    pub async fn next_block(&mut self) -> Result<Option<Block>, String> {
        todo!()
    }
}
pub struct CheckpointWriter;
impl CheckpointWriter {
    pub async fn create(_: &DataDir, _: CheckpointId, _: CoreId) -> Result<Self, String> {
        todo!()
    }
    pub async fn push(&mut self, _: StorageId, _: crate::wal::KeyRef<'_>, _: CommitTs, _: &[u8]) -> Result<(), String> {
        todo!()
    }
    pub async fn finish(self) -> Result<DataFile, String> {
        todo!()
    }
}
