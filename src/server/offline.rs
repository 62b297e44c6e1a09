//! What can be done with a data directory that no server uses: `omendb check` verifies it, `omendb wal inspect` prints its log.
//!
//! Both read and change nothing. They take the directory's lock, so that no server starts on it meanwhile.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::base::{CommitTs, CoreId, StorageId};
use crate::checkpoint::{CheckpointReader, DataDir, Manifest};
use crate::config::Config;
use crate::runtime::{self, RuntimeConfig};
use crate::shard::PREPARED_STORAGE;
use crate::shard::prepared::{assemble, piece_of};
use crate::shard::salvage::{describe_losses, starting_point};
use crate::storage::{Key, KeyRef};
use crate::wal::reader::{LogDirectory, Relevance, list_logs, scan_log};
use crate::wal::record::{BodyRef, RecordRef};
use crate::wal::{LogReplay, OnDamage, SegmentCursor, Writes, cut};

/// Verifies a data directory end to end: checksums, order and counts of the checkpoint, checksums and neighbours of the log's
/// records, that what is durable follows without a gap, and that prepared transactions are whole. Prints what it finds; an error says what is wrong and where,
/// and what was printed before it, how much of the database can be kept all the same.
pub fn check(config: &Config) -> Result<(), String> {
    check_directory(config, &config.data_dir)
}

/// The same for any directory.
pub(super) fn check_directory(config: &Config, root: &Path) -> Result<(), String> {
    on_a_core(config, root, |root| async move {
        let verified = verify(&root).await;
        if verified.is_err()
            && let Err(problem) = foretell(&root).await
        {
            say(&problem);
        }
        verified
    })?;
    say("no damage found");
    Ok(())
}

async fn verify(root: &Path) -> Result<(), String> {
    let manifest = Manifest::read(root).await.map_err(text)?;
    say(&format!("manifest: checkpoint {} through timestamp {}", manifest.checkpoint.0, manifest.through));
    let mut prepared = PreparedRows::default();
    for file in &manifest.files {
        let mut reader = CheckpointReader::open(root, &manifest, file).await.map_err(text)?;
        let mut blocks = 0u64;
        while let Some(block) = reader.next_block().await.map_err(text)? {
            blocks += 1;
            for entry in block.entries().filter(|entry| entry.storage == PREPARED_STORAGE) {
                prepared.note(entry.key.to_key(), entry.ts, Some(entry.value.to_vec()));
            }
        }
        say(&format!("checkpoint of core {}: {} rows in {blocks} blocks, {} bytes", file.core, file.entries, file.bytes));
    }
    let relevance = Relevance { history: &manifest.history, checkpoint: manifest.through, on_damage: OnDamage::Refuse };
    let (mut commits, mut logged) = (Vec::new(), Vec::new());
    for log in list_logs(root).await.map_err(text)? {
        let scan = scan_log(&log, &relevance, PREPARED_STORAGE, &|_bytes| {}).await.map_err(text)?;
        let (segments, since) = (log.segments.len(), scan.commits.len());
        say(&format!(
            "log of core {}: {} records in {segments} segments, {} bytes, {since} commits since the checkpoint",
            log.core, scan.records, scan.bytes
        ));
        commits.push(scan.commits);
        logged.extend(scan.set_aside);
    }
    let cut = cut::compute(manifest.through, manifest.promised(), &commits).map_err(text)?;
    say(&format!("a start recovers everything through timestamp {}", cut.recovered));
    if !cut.dropped.is_empty() {
        say(&format!("{} later ones were under way when the server stopped, and are dropped", cut.dropped.len()));
    }
    for write in logged.into_iter().filter(|write| write.ts <= cut.recovered) {
        prepared.note(write.key, write.ts, write.value);
    }
    for (found, _) in assemble(prepared.newest())? {
        let (info, writes) = (&found.info, found.writes.len());
        say(&format!("prepared and not decided: \"{}\" of {}, with {writes} writes", info.gid, info.owner));
    }
    Ok(())
}

/// What a start with `--recover-until-corruption` would keep and drop.
async fn foretell(root: &Path) -> Result<(), String> {
    let manifest = Manifest::read(root).await.map_err(text)?;
    let start = starting_point(root, &manifest, OnDamage::PassOver).await.map_err(text)?;
    let relevance = Relevance { history: &manifest.history, checkpoint: start.base.through, on_damage: OnDamage::PassOver };
    let logs = list_logs(root).await.map_err(text)?;
    let mut scans = Vec::new();
    for log in &logs {
        scans.push(scan_log(log, &relevance, PREPARED_STORAGE, &|_bytes| {}).await.map_err(text)?);
    }
    let commits: Vec<_> = scans.iter().map(|scan| scan.commits.clone()).collect();
    let recovered = start.cut(OnDamage::PassOver, &commits)?.recovered;
    let mut dropped = Vec::new();
    for (log, scan) in logs.iter().zip(&scans) {
        let mut replay = LogReplay::new(log, scan, relevance, recovered);
        while replay.advance().await.map_err(text)?.is_some() {}
        dropped.extend(replay.dropped().cloned());
    }
    let damage: Vec<_> = start.damage.iter().chain(scans.iter().flat_map(|scan| &scan.damage)).cloned().collect();
    if damage.is_empty() && recovered >= manifest.promised() {
        return Ok(());
    }
    for line in describe_losses(&damage, &dropped, manifest.promised(), recovered) {
        say(&line);
    }
    say(&format!("\"omendb serve --recover-until-corruption\" would keep everything through timestamp {recovered}"));
    Ok(())
}

/// The rows that describe prepared transactions, the newest version of each.
#[derive(Default)]
struct PreparedRows(BTreeMap<i64, (CommitTs, Option<Vec<u8>>)>);

impl PreparedRows {
    fn note(&mut self, key: Key, ts: CommitTs, value: Option<Vec<u8>>) {
        let Key::Int(key) = key else { return };
        let entry = self.0.entry(key).or_default();
        if ts >= entry.0 {
            *entry = (ts, value);
        }
    }

    fn newest(self) -> impl Iterator<Item = (i64, Vec<u8>)> {
        self.0.into_iter().filter_map(|(key, (_, value))| Some((key, value?)))
    }
}

/// Prints every record of the logs, with `writes` each write in it too.
pub fn inspect_log(config: &Config, writes: bool) -> Result<(), String> {
    on_a_core(config, &config.data_dir, move |root| async move {
        for log in list_logs(&root).await.map_err(text)? {
            for segment in &log.segments {
                inspect_segment(&log, *segment, writes).await?;
            }
        }
        Ok(())
    })
}

async fn inspect_segment(log: &LogDirectory, segment: u64, writes: bool) -> Result<(), String> {
    let mut cursor = SegmentCursor::open(&log.segment_path(segment), log.core, segment).await.map_err(text)?;
    let incarnation = cursor.header().incarnation.0;
    while cursor.advance().await.map_err(text)? {
        let record = cursor.record().map_err(text)?;
        say(&describe(log.core, segment, incarnation, &record, writes));
    }
    let why = cursor.stopped().map(|why| format!(" ({why})")).unwrap_or_default();
    say(&format!("core {} segment {segment}: ends at offset {}{why}", log.core, cursor.end_offset()));
    Ok(())
}

fn describe(core: CoreId, segment: u64, incarnation: u64, record: &RecordRef<'_>, with_writes: bool) -> String {
    let mut line = format!("core {core} segment {segment} start {incarnation} lsn {} ", record.position.lsn);
    let writes = match &record.body {
        BodyRef::SegmentStart { previous_end } => {
            line += &format!("segment start, the one before ended at {previous_end}");
            None
        }
        BodyRef::Commit(commit) => {
            line += &format!("commit {}", commit.ts);
            if commit.participants().len() > 0 {
                let cores: Vec<String> = commit.participants().map(|core| core.to_string()).collect();
                line += &format!(" of cores {}", cores.join(", "));
            }
            if let Some(chunked) = commit.chunked {
                line += &format!(" with {} chunks of transaction {}", chunked.chunks, chunked.txn);
            }
            Some(commit.writes())
        }
        BodyRef::Chunk(chunk) => {
            line += &format!("chunk {} of transaction {}", chunk.sequence, chunk.txn);
            Some(chunk.writes())
        }
    };
    if let Some(writes) = writes {
        line += &format!(", {} writes", writes.len());
        if with_writes {
            list(&mut line, writes);
        }
    }
    line
}

fn list(line: &mut String, writes: Writes<'_>) {
    for write in writes {
        let StorageId(storage) = write.storage;
        let done = match write.key {
            KeyRef::Int(key) if write.storage == PREPARED_STORAGE => {
                let (number, piece) = piece_of(key);
                write!(line, "\n    prepared transaction {number} piece {piece}: ")
            }
            KeyRef::Int(key) => write!(line, "\n    storage {storage} key {key}: "),
            KeyRef::Bytes(key) => write!(line, "\n    storage {storage} key \\x{}: ", hex(key)),
        };
        done.expect("a string takes text");
        match write.value {
            Some(row) => *line += &format!("row of {} bytes", row.len()),
            None => *line += "deleted",
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Output that somebody reads through a pipe that may close.
pub(super) fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(1);
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Runs `work` with the directory, which must be one of ours and in use by nobody, on a core of its own.
fn on_a_core<F>(config: &Config, root: &Path, work: impl Fn(PathBuf) -> F + Clone + Send + 'static) -> Result<(), String>
where
    F: Future<Output = Result<(), String>> + 'static,
{
    if !Manifest::path(root).exists() {
        return Err(format!("{} is not a data directory of OmenDB: it has no MANIFEST", root.display()));
    }
    let taken = DataDir::open(root).map_err(text)?;
    let root = taken.root().to_owned();
    let cores =
        runtime::start(&RuntimeConfig::on_cpus(config.cpus[..1].to_vec()), move |_core| work(root.clone())).map_err(text)?;
    cores.join().into_iter().try_for_each(|outcome| outcome.and_then(|checked| checked))
}
