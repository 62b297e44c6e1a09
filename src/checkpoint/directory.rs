//! The data directory: who may use it, and that it is one.
//!
//! Runs once at start, before there are cores, with the standard library's blocking calls. The lock is `flock` on `LOCK`,
//! which the kernel releases however the process ends; the pid in the file is for people and messages only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A data directory that this process has to itself for as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    /// Holds the lock.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another server runs on it.
    #[error("data directory {} is in use by another server (process {pid}): stop it, or choose another --data-dir", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// What the lock file says.
        pid: String,
    },
    /// It holds something else.
    #[error("{} is not empty and not an OmenDB data directory: choose an empty or new one with --data-dir", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {doing} {}: {cause}", path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// The directory's own files and directories.
const OURS: [&str; 7] = ["LOCK", "MANIFEST", "MANIFEST.new", "wal", "checkpoint", HBA_FILE, SECRET_FILE];

/// Who may connect, unless another file is named.
pub const HBA_FILE: &str = "hba.conf";

/// What salts of users that do not exist are made of.
pub const SECRET_FILE: &str = "mock-authentication-secret";

impl DataDir {
    /// Creates the directory if need be, checks that it is one of ours, and takes its lock.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let root: PathBuf = path.into();
        let wrap = |doing, path: &Path| {
            let path = path.to_owned();
            move |cause| DataDirError::Io { doing, path, cause }
        };
        fs::create_dir_all(&root).map_err(wrap("create", &root))?;
        let mut is_empty = true;
        let mut is_ours = false;
        for entry in fs::read_dir(&root).map_err(wrap("list", &root))? {
            let name = entry.map_err(wrap("list", &root))?.file_name();
            is_empty = false;
            is_ours |= OURS.iter().any(|ours| name == *ours);
        }
        if !is_empty && !is_ours {
            return Err(DataDirError::NotOurs { path: root });
        }
        let lock = take_lock(&root)?;
        for directory in ["wal", "checkpoint"] {
            let directory = root.join(directory);
            fs::create_dir_all(&directory).map_err(wrap("create", &directory))?;
        }
        let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for directory in [root.as_path(), parent] {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(wrap("sync", directory))?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn take_lock(root: &Path) -> Result<File, DataDirError> {
    let path = root.join("LOCK");
    let wrap = |doing| {
        let path = path.clone();
        move |cause| DataDirError::Io { doing, path, cause }
    };
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut lock = options.open(&path).map_err(wrap("open"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The holder may be about to write it; the message is good enough without.
            let _unreadable = lock.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
            return Err(DataDirError::Locked { path: root.to_owned(), pid });
        }
        Err(TryLockError::Error(cause)) => return Err(wrap("lock")(cause)),
    }
    lock.set_len(0).map_err(wrap("write"))?;
    lock.rewind().map_err(wrap("write"))?;
    lock.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(wrap("write"))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_and_told_the_first_ones_process() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let path = parent.path().join("deep/data");
        let first = DataDir::open(&path).expect("nobody has it");
        let error = DataDir::open(&path).expect_err("it is locked");
        assert!(matches!(&error, DataDirError::Locked { pid, .. } if *pid == std::process::id().to_string()), "{error}");
        drop(first);
        let again = DataDir::open(&path).expect("the lock is gone with its holder");
        assert!(again.root().join("wal").is_dir());
    }

    #[test]
    fn a_directory_with_other_things_is_refused() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        fs::write(parent.path().join("notes.txt"), "not a database").expect("writable");
        assert!(matches!(DataDir::open(parent.path()), Err(DataDirError::NotOurs { .. })));
    }
}
