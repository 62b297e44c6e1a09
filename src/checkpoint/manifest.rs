//! The manifest: which checkpoint is current, and which incarnations' records count up to where.
//!
//! One small file, replaced atomically (written under another name, synced, renamed, directory synced). After a crash it is the old one or
//! the new one, whole; everything either of them names is still there, because removing comes after replacing.

use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::format::{HeaderError, envelope, open_envelope};
use super::reader::CheckpointReader;
use super::{CheckpointId, checkpoint_directory, parse_data_file_name};
use crate::base::{CommitTs, CoreId};
use crate::runtime::fs;
use crate::wal::{Fields, Incarnation, IncarnationHistory, logs_directory, put_counted, reader as log_reader};

/// The version of the manifest, and with it of the data directory.
pub const MANIFEST_FORMAT: u32 = 2;
/// The version before there were prepared transactions, whose rows a server of that time would drop. It is read, and
/// replaced at the start.
const MANIFEST_FORMAT_UNPREPARED: u32 = 1;
/// No manifest is longer.
pub(super) const MANIFEST_BYTES_MAX: usize = 64 << 20;
/// What the engine may keep in it.
const ENGINE_BYTES_MAX: usize = 16 << 20;
const MAGIC: [u8; 8] = *b"OMENMAN\0";

/// One core's part of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// The core that wrote it. A server with another number of cores reads all of them all the same.
    pub core: CoreId,
    /// Its exact length.
    pub bytes: u64,
    /// Its rows.
    pub entries: u64,
}

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The version of the server that wrote it, for messages.
    pub server_version: String,
    /// The current checkpoint, 0 if there is none.
    pub checkpoint: CheckpointId,
    /// K: the checkpoint holds every commit up to here and nothing newer.
    pub through: CommitTs,
    /// The checkpoint's data files, ascending by core.
    pub files: Vec<DataFile>,
    /// The log's incarnations.
    pub history: IncarnationHistory,
    /// What the engine wants to find again at the next start and can do without (the division of key ranges among cores).
    pub engine: Vec<u8>,
}

impl Manifest {
    /// The manifest of a new data directory: no checkpoint, the first incarnation.
    pub fn first() -> Self {
        Self {
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            checkpoint: CheckpointId(0),
            through: CommitTs(0),
            files: Vec::new(),
            history: IncarnationHistory::first(),
            engine: Vec::new(),
        }
    }

    /// The file.
    pub fn path(root: &Path) -> PathBuf {
        root.join("MANIFEST")
    }

    /// Every commit up to here was kept by an earlier start or is in the checkpoint: none of them may be missing.
    pub fn promised(&self) -> CommitTs {
        self.history.last_cut().max(self.through)
    }

    /// What recovery persists before serving, when it has kept everything up to `recovered`: a new incarnation.
    #[must_use]
    pub fn recovered(&self, recovered: CommitTs) -> Self {
        let history = self.history.next(recovered);
        Self { history, server_version: env!("CARGO_PKG_VERSION").to_owned(), ..self.clone() }
    }

    /// What makes a finished checkpoint the current one. Its files are durable.
    #[must_use]
    pub fn checkpointed(&self, id: CheckpointId, through: CommitTs, mut files: Vec<DataFile>) -> Self {
        assert!(id > self.checkpoint && through >= self.through, "checkpoints go forward");
        files.sort_by_key(|file| file.core);
        let history = self.history.checkpointed(through);
        Self { checkpoint: id, through, files, history, ..self.clone() }
    }

    /// The same without its checkpoint: what the logs alone are recovered from.
    #[must_use]
    pub fn without_checkpoint(&self) -> Self {
        Self { checkpoint: CheckpointId(0), through: CommitTs(0), files: Vec::new(), engine: Vec::new(), ..self.clone() }
    }

    /// What makes checkpoint `id` the whole of the database, whatever earlier starts have kept: no record of an earlier
    /// incarnation counts any more. Its files are durable.
    #[must_use]
    pub fn salvaged(&self, id: CheckpointId, through: CommitTs, mut files: Vec<DataFile>) -> Self {
        assert!(id > self.checkpoint, "the damaged checkpoint's files stay what they are");
        files.sort_by_key(|file| file.core);
        let history = self.history.closed();
        let server_version = env!("CARGO_PKG_VERSION").to_owned();
        Self { server_version, checkpoint: id, through, files, history, engine: Vec::new() }
    }

    /// Reads all of the current checkpoint, verifying it.
    pub async fn verify_checkpoint(&self, root: &Path) -> Result<(), CheckpointError> {
        for file in &self.files {
            let mut reader = CheckpointReader::open(root, self, file).await?;
            while reader.next_block().await?.is_some() {}
        }
        Ok(())
    }

    /// The number of the next checkpoint.
    pub fn next_checkpoint(&self) -> CheckpointId {
        CheckpointId(self.checkpoint.0 + 1)
    }

    /// The manifest's bytes.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.is_sound(), "decoding would refuse it");
        let mut out = Vec::new();
        put_counted(&mut out, self.server_version.as_bytes());
        out.extend_from_slice(&self.checkpoint.0.to_le_bytes());
        out.extend_from_slice(&self.through.0.to_le_bytes());
        out.extend_from_slice(&self.history.current().0.to_le_bytes());
        out.extend_from_slice(&count(self.history.cuts().len()));
        for (incarnation, cut) in self.history.cuts() {
            out.extend_from_slice(&incarnation.0.to_le_bytes());
            out.extend_from_slice(&cut.0.to_le_bytes());
        }
        out.extend_from_slice(&count(self.files.len()));
        for file in &self.files {
            out.extend_from_slice(&file.core.0.to_le_bytes());
            out.extend_from_slice(&file.bytes.to_le_bytes());
            out.extend_from_slice(&file.entries.to_le_bytes());
        }
        put_counted(&mut out, &self.engine);
        envelope(MAGIC, MANIFEST_FORMAT, &out)
    }

    /// The rules for a manifest beyond its layout, checked on encode and on decode.
    fn is_sound(&self) -> bool {
        let ascending = self.files.windows(2).all(|pair| pair[0].core < pair[1].core);
        let none_without_checkpoint = self.checkpoint.0 > 0 || (self.files.is_empty() && self.through.0 == 0);
        ascending && none_without_checkpoint && self.engine.len() <= ENGINE_BYTES_MAX
    }

    /// Decodes a manifest; `path` is for errors.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, CheckpointError> {
        let opened = match open_envelope(MAGIC, MANIFEST_FORMAT, bytes) {
            Err(HeaderError::Version(MANIFEST_FORMAT_UNPREPARED)) => open_envelope(MAGIC, MANIFEST_FORMAT_UNPREPARED, bytes),
            opened => opened,
        };
        let mut fields = opened.map_err(|error| match error {
            HeaderError::Corrupt(what) => CheckpointError::corrupt(path, 0, what),
            HeaderError::Version(found) => CheckpointError::Version { path: path.to_owned(), found, supported: MANIFEST_FORMAT },
        })?;
        let manifest = decode_contents(&mut fields).filter(|_| fields.is_empty()).filter(Manifest::is_sound);
        manifest.ok_or_else(|| CheckpointError::corrupt(path, 0, "its contents contradict themselves"))
    }

    /// Reads the manifest of a data directory. For a directory without one that has no log either, the first one, not yet written.
    pub async fn read(root: &Path) -> Result<Self, CheckpointError> {
        let path = Self::path(root);
        if fs::exists(&path).await.map_err(|error| CheckpointError::io("looking for", &path, error))? {
            let bytes = fs::read_small_file(&path, MANIFEST_BYTES_MAX).await;
            return Self::decode(&bytes.map_err(|error| CheckpointError::io("reading", &path, error))?, &path);
        }
        let logs = log_reader::list_logs(root)
            .await
            .map_err(|error| CheckpointError::io("listing", &logs_directory(root), std::io::Error::other(error.to_string())))?;
        if logs.iter().all(|log| log.segments.is_empty()) {
            Ok(Self::first())
        } else {
            Err(CheckpointError::ManifestMissing { path: root.to_owned() })
        }
    }

    /// Replaces the manifest; durable on return.
    pub async fn write(&self, root: &Path) -> Result<(), CheckpointError> {
        let path = Self::path(root);
        let bytes = self.encode();
        assert!(bytes.len() <= MANIFEST_BYTES_MAX, "its parts are limited");
        let outcome = fs::write_file_atomically(&path, &bytes).await;
        outcome.map_err(|error| CheckpointError::io("replacing", &path, error))
    }
}

fn count(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("lists in the manifest are limited").to_le_bytes()
}

fn decode_contents(fields: &mut Fields<'_>) -> Option<Manifest> {
    let server_version = String::from_utf8(fields.take_counted()?.to_vec()).ok()?;
    let checkpoint = CheckpointId(fields.u64()?);
    let through = CommitTs(fields.u64()?);
    let current = Incarnation(fields.u64()?);
    let cuts = (0..fields.u32()?).map(|_| Some((Incarnation(fields.u64()?), CommitTs(fields.u64()?))));
    let history = IncarnationHistory::from_parts(current, cuts.collect::<Option<_>>()?)?;
    let file =
        |fields: &mut Fields<'_>| Some(DataFile { core: CoreId(fields.u16()?), bytes: fields.u64()?, entries: fields.u64()? });
    let files = (0..fields.u32()?).map(|_| file(fields)).collect::<Option<_>>()?;
    let engine = fields.take_counted()?.to_vec();
    Some(Manifest { server_version, checkpoint, through, files, history, engine })
}

/// Removes data files of other checkpoints than the current one, abandoned attempts included. Only after `manifest` is durable.
pub async fn remove_old_checkpoints(root: &Path, manifest: &Manifest) -> Result<usize, CheckpointError> {
    remove_data_files(root, |id| id != manifest.checkpoint).await
}

/// Removes data files of attempts that came to nothing, which gives back their room. `manifest` is the one there is, durable or not.
pub async fn discard_attempts(root: &Path, manifest: &Manifest) -> Result<usize, CheckpointError> {
    remove_data_files(root, |id| id > manifest.checkpoint).await
}

async fn remove_data_files(root: &Path, goes: impl Fn(CheckpointId) -> bool) -> Result<usize, CheckpointError> {
    let directory = checkpoint_directory(root);
    let wrap = |error| CheckpointError::io("clearing", &directory, error);
    if !fs::exists(&directory).await.map_err(wrap)? {
        return Ok(0);
    }
    let mut removed = 0;
    for name in fs::list_dir(&directory).await.map_err(wrap)? {
        if parse_data_file_name(&name).is_some_and(&goes) {
            fs::remove(directory.join(&name)).await.map_err(wrap)?;
            removed += 1;
        }
    }
    fs::sync_dir(&directory).await.map_err(wrap)?;
    Ok(removed)
}
