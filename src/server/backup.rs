//! `omendb backup` has a running server write a backup of itself; `omendb restore` makes a data directory of one.
//!
//! A backup is a data directory as a crash could have left it (see [`crate::shard::backup`]), so verifying one is what `omendb check`
//! does, and the first start on a restored one is recovery.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::checkpoint::{DataDir, Manifest};
use crate::config::Config;
use crate::server::client::{self, told};
use crate::server::offline::{check_directory, say};
use crate::shard::backup::unfinished;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Has the server that `config` describes write a backup, and waits for it. Connects as its superuser, with the password of
/// PGPASSWORD if there is one.
pub fn backup(config: &Config, target: &Path) -> Result<(), String> {
    let target = std::path::absolute(target).map_err(|error| format!("{}: {error}", target.display()))?;
    let directory = target.to_str().ok_or_else(|| format!("{} is not UTF-8", target.display()))?.to_owned();
    let mut client = client::connect(config, "omendb backup")?;
    let (sender, outcome) = mpsc::channel();
    let asking = thread::spawn(move || {
        let statement = format!("BACKUP TO '{}'", directory.replace('\'', "''"));
        // Nobody listens any more only if this program ends.
        let _ = sender.send(client.batch_execute(&statement));
    });
    let outcome = loop {
        match outcome.recv_timeout(PROGRESS_INTERVAL) {
            Ok(outcome) => break outcome.map_err(|error| told(&error)),
            Err(RecvTimeoutError::Timeout) => say(&format!("{} MB written", size_of(&unfinished(&target)) / 1_000_000)),
            Err(RecvTimeoutError::Disconnected) => break Err("the connection was given up".to_owned()),
        }
    };
    let _ended = asking.join();
    outcome?;
    say(&format!("the backup is complete: {} MB in {}", size_of(&target) / 1_000_000, target.display()));
    Ok(())
}

/// Bytes of all files in a directory; 0 for what cannot be read.
fn size_of(directory: &Path) -> u64 {
    files(directory)
        .map_or(0, |files| files.iter().map(|file| fs::metadata(directory.join(file)).map_or(0, |data| data.len())).sum())
}

/// The files below a directory, relative to it, sorted.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut below = vec![PathBuf::new()];
    while let Some(relative) = below.pop() {
        for entry in fs::read_dir(directory.join(&relative))? {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            if entry.file_type()?.is_dir() { below.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// Verifies a backup and copies it into the data directory that `config` names, which must be empty or not exist. What makes it a
/// data directory, the manifest, comes last.
pub fn restore(config: &Config, source: &Path) -> Result<(), String> {
    let target = &config.data_dir;
    let wrap = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    if target.exists() && fs::read_dir(target).map_err(|error| wrap(target, error))?.next().is_some() {
        return Err(format!("{} is not empty: choose an empty or new directory with --data-dir", target.display()));
    }
    check_directory(config, source)?;
    let taken = DataDir::open(target).map_err(|error| error.to_string())?;
    let (root, manifest) = (taken.root(), Manifest::path(Path::new("")));
    let all = files(source).map_err(|error| wrap(source, error))?;
    let mut bytes = 0;
    for file in all.iter().filter(|file| **file != manifest && file.as_os_str() != "LOCK") {
        bytes += copy(&source.join(file), &root.join(file)).map_err(|error| wrap(file, error))?;
        say(&format!("{}: {} MB so far", file.display(), bytes / 1_000_000));
    }
    let directories: BTreeSet<&Path> = all.iter().filter_map(|file| file.parent()).flat_map(Path::ancestors).collect();
    for directory in directories {
        sync(&root.join(directory)).map_err(|error| wrap(directory, error))?;
    }
    let unfinished = root.join("MANIFEST.new");
    copy(&source.join(&manifest), &unfinished).map_err(|error| wrap(&unfinished, error))?;
    fs::rename(&unfinished, root.join(&manifest)).and_then(|()| sync(root)).map_err(|error| wrap(root, error))?;
    say(&format!("restored into {}: start the server with --data-dir {}", root.display(), root.display()));
    Ok(())
}

/// Copies a file, making the directories it needs; durable on return but for its name.
fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let bytes = fs::copy(from, to)?;
    File::open(to)?.sync_all()?;
    Ok(bytes)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
