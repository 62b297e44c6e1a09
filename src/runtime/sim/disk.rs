//! A disk that keeps its promises and no more.
//!
//! Every file has what is durable, and an ordered list of writes and truncations that are not yet. Reads see all of it. A
//! crash keeps, loses or tears each of them at 512-byte sectors and applies the survivors in any order; what
//! [`sync`](Disk::finish_sync) covered is safe. Names work the same way: creations, renames and removals are durable once
//! their directory is synced, and otherwise survive a crash by luck (sometimes a prefix of them, sometimes any subset).
//! Directories themselves are durable at once: a simplification.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::runtime::context::SplitMix64;

/// What a torn write tears at, in bytes.
const SECTOR: usize = 512;

pub(super) type Inode = u64;

/// What the disk does wrong. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct DiskFaults {
    /// One write in so many fails with EIO, having written any part; 0: none.
    pub write_error_one_in: u64,
    /// One sync in so many fails with EIO, after which any part of what it covered is lost for good even though reads still
    /// see it and the next sync succeeds (as Linux behaves); 0: none.
    pub sync_error_one_in: u64,
    /// One sync of a directory in so many fails with EIO, and makes nothing durable; 0: none.
    pub directory_error_one_in: u64,
    /// One read in so many fails with EIO; 0: none.
    pub read_error_one_in: u64,
    /// Bytes all files together may hold; beyond that writes fail with ENOSPC.
    pub capacity: Option<u64>,
}

enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Truncate { len: usize },
}

struct Pending {
    sequence: u64,
    change: Change,
    /// The call has returned, so a sync that starts now covers it.
    returned: bool,
}

#[derive(Default)]
struct FileState {
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Durable plus pending: what reads see.
    visible: Vec<u8>,
}

enum NameChange {
    Create { path: PathBuf, inode: Inode },
    Rename { from: PathBuf, to: PathBuf, inode: Inode },
    Remove { path: PathBuf },
}

impl NameChange {
    fn directory(&self) -> &Path {
        let path = match self {
            NameChange::Create { path, .. } | NameChange::Remove { path } => path,
            NameChange::Rename { to, .. } => to,
        };
        path.parent().unwrap_or(Path::new(""))
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Inode>) {
        match self {
            NameChange::Create { path, inode } => drop(names.insert(path.clone(), *inode)),
            NameChange::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove { path } => drop(names.remove(path)),
        }
    }
}

/// The disk of a simulated machine.
pub struct Disk {
    files: BTreeMap<Inode, FileState>,
    names: BTreeMap<PathBuf, Inode>,
    durable_names: BTreeMap<PathBuf, Inode>,
    pending_names: Vec<NameChange>,
    directories: BTreeSet<PathBuf>,
    last_inode: Inode,
    last_sequence: u64,
    /// What it does wrong; set from the configuration at every boot, and free to change during a run.
    pub faults: DiskFaults,
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist on the simulated disk", path.display()))
}

impl Disk {
    pub(super) fn new() -> Self {
        Self {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            directories: BTreeSet::from([PathBuf::from(""), PathBuf::from("/")]),
            last_inode: 0,
            last_sequence: 0,
            faults: DiskFaults::default(),
        }
    }

    fn file(&mut self, inode: Inode) -> &mut FileState {
        self.files.get_mut(&inode).expect("an inode lives as long as anything refers to it")
    }

    pub(super) fn open(&mut self, path: &Path, create: bool) -> io::Result<Inode> {
        if let Some(inode) = self.names.get(path) {
            return Ok(*inode);
        }
        if !create || !self.directories.contains(path.parent().unwrap_or(Path::new(""))) {
            return Err(not_found(path));
        }
        self.last_inode += 1;
        let inode = self.last_inode;
        self.files.insert(inode, FileState::default());
        self.change_names(NameChange::Create { path: path.to_owned(), inode });
        Ok(inode)
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }

    /// Bytes that all files together hold.
    pub fn used(&self) -> u64 {
        self.names.values().map(|inode| self.files[inode].visible.len() as u64).sum()
    }

    /// A write begins: from now on it may survive a crash. Gives what to hand to [`finish`](Self::finish).
    pub(super) fn begin_write(&mut self, inode: Inode, position: u64, bytes: &[u8]) -> io::Result<u64> {
        let position = usize::try_from(position).expect("simulated files are small");
        let used = self.used();
        let file = self.files.get_mut(&inode).expect("open files exist");
        let end = position + bytes.len();
        let grown = end.saturating_sub(file.visible.len());
        if self.faults.capacity.is_some_and(|capacity| used + grown as u64 > capacity) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let change = Change::Write { position, bytes: bytes.to_vec() };
        Ok(self.begin(inode, change))
    }

    /// A truncation begins.
    pub(super) fn begin_truncate(&mut self, inode: Inode, len: u64) -> u64 {
        let len = usize::try_from(len).expect("simulated files are small");
        self.begin(inode, Change::Truncate { len })
    }

    fn begin(&mut self, inode: Inode, change: Change) -> u64 {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        let file = self.file(inode);
        apply(&mut file.visible, &change, |_| true);
        file.pending.push(Pending { sequence, change, returned: false });
        sequence
    }

    /// A write or truncation returns to its caller.
    pub(super) fn finish(&mut self, inode: Inode, sequence: u64) {
        if let Some(pending) = self.file(inode).pending.iter_mut().find(|pending| pending.sequence == sequence) {
            pending.returned = true;
        }
    }

    /// What a sync that starts now will cover: hand it to [`finish_sync`](Self::finish_sync).
    pub(super) fn begin_sync(&mut self, inode: Inode) -> BTreeSet<u64> {
        self.file(inode).pending.iter().filter(|pending| pending.returned).map(|pending| pending.sequence).collect()
    }

    /// The changes a sync covers are durable.
    pub(super) fn finish_sync(&mut self, inode: Inode, covered: &BTreeSet<u64>) {
        let file = self.file(inode);
        let (durable, pending) =
            std::mem::take(&mut file.pending).into_iter().partition(|pending: &Pending| covered.contains(&pending.sequence));
        file.pending = pending;
        let durable: Vec<Pending> = durable;
        for pending in durable {
            apply(&mut file.durable, &pending.change, |_| true);
        }
    }

    /// A sync fails: of what it covered some is durable, and the rest never will be, though reads still see it.
    pub(super) fn fail_sync(&mut self, inode: Inode, covered: &BTreeSet<u64>, random: &SplitMix64) {
        let kept = covered.iter().copied().filter(|_| random.next().is_multiple_of(2)).collect();
        self.finish_sync(inode, &kept);
        self.file(inode).pending.retain(|pending| !covered.contains(&pending.sequence));
    }

    /// A write fails: some sectors of it may be there.
    pub(super) fn fail_write(&mut self, inode: Inode, sequence: u64, random: &SplitMix64) {
        let file = self.file(inode);
        let Some(index) = file.pending.iter().position(|pending| pending.sequence == sequence) else { return };
        let failed = file.pending.remove(index);
        // Rebuild what is visible without it, then let some of its sectors through, durably.
        apply(&mut file.durable, &failed.change, |_| random.next().is_multiple_of(2));
        file.visible = file.durable.clone();
        for pending in &file.pending {
            apply(&mut file.visible, &pending.change, |_| true);
        }
    }

    pub(super) fn read(&mut self, inode: Inode, position: u64, len: usize) -> Vec<u8> {
        let file = self.file(inode);
        let start = usize::try_from(position).expect("simulated files are small").min(file.visible.len());
        let end = (start + len).min(file.visible.len());
        file.visible[start..end].to_vec()
    }

    pub(super) fn len(&mut self, inode: Inode) -> u64 {
        self.file(inode).visible.len() as u64
    }

    pub(in crate::runtime) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.directories.contains(from) {
            self.rename_directory(from, to);
            return Ok(());
        }
        let inode = *self.names.get(from).ok_or_else(|| not_found(from))?;
        if !self.directories.contains(to.parent().unwrap_or(Path::new(""))) {
            return Err(not_found(to));
        }
        self.change_names(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    /// Like directories themselves, durable at once, with what is durable of the names in it.
    fn rename_directory(&mut self, from: &Path, to: &Path) {
        let moved = |path: &PathBuf| path.strip_prefix(from).map_or_else(|_| path.clone(), |rest| to.join(rest));
        for names in [&mut self.names, &mut self.durable_names] {
            *names = std::mem::take(names).into_iter().map(|(path, inode)| (moved(&path), inode)).collect();
        }
        self.directories = self.directories.iter().map(moved).collect();
        for change in &mut self.pending_names {
            match change {
                NameChange::Create { path, .. } | NameChange::Remove { path } => *path = moved(path),
                NameChange::Rename { from, to, .. } => (*from, *to) = (moved(from), moved(to)),
            }
        }
    }

    pub(in crate::runtime) fn remove(&mut self, path: &Path) -> io::Result<()> {
        if !self.names.contains_key(path) {
            return Err(not_found(path));
        }
        self.change_names(NameChange::Remove { path: path.to_owned() });
        Ok(())
    }

    /// Everything below a directory, and the directory.
    pub(in crate::runtime) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        if !self.directories.contains(path) {
            return Err(not_found(path));
        }
        let below: Vec<PathBuf> = self.names.keys().filter(|name| name.starts_with(path)).cloned().collect();
        for path in below {
            self.change_names(NameChange::Remove { path });
        }
        self.directories.retain(|directory| !directory.starts_with(path));
        Ok(())
    }

    pub(in crate::runtime) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        if !self.directories.contains(path) {
            return Err(not_found(path));
        }
        let changes = std::mem::take(&mut self.pending_names);
        for change in changes {
            if change.directory() == path {
                change.apply(&mut self.durable_names);
            } else {
                self.pending_names.push(change);
            }
        }
        Ok(())
    }

    pub(in crate::runtime) fn create_dir_all(&mut self, path: &Path) {
        for ancestor in path.ancestors() {
            self.directories.insert(ancestor.to_owned());
        }
    }

    pub(in crate::runtime) fn exists(&self, path: &Path) -> bool {
        self.names.contains_key(path) || self.directories.contains(path)
    }

    /// The names in a directory, sorted.
    pub(in crate::runtime) fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        if !self.directories.contains(path) {
            return Err(not_found(path));
        }
        let children = self.names.keys().chain(&self.directories).filter(|child| child.parent() == Some(path));
        let mut names: Vec<String> = children
            .filter_map(|child| child.file_name())
            .map(|name| name.to_str().expect("simulated names are UTF-8").to_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    /// The machine loses power: the unsynced is kept, lost or torn, and nothing is pending afterwards.
    pub(super) fn crash(&mut self, random: &SplitMix64) {
        self.crash_names(random);
        for file in self.files.values_mut() {
            let mut pending = std::mem::take(&mut file.pending);
            shuffle(&mut pending, random);
            for pending in pending {
                match random.next() % 4 {
                    0 => {}
                    1 => apply(&mut file.durable, &pending.change, |_| random.next().is_multiple_of(2)),
                    _ => apply(&mut file.durable, &pending.change, |_| true),
                }
            }
            file.visible = file.durable.clone();
        }
        let linked: BTreeSet<Inode> = self.names.values().copied().collect();
        self.files.retain(|inode, _| linked.contains(inode));
    }

    /// The process ends and the machine goes on: what was written stays to be read, and stays unsynced. Calls under way have happened or not.
    pub(super) fn end_process(&mut self, random: &SplitMix64) {
        for file in self.files.values_mut() {
            file.pending.retain_mut(|pending| {
                let happened = pending.returned || random.next().is_multiple_of(2);
                pending.returned = happened;
                happened
            });
            file.visible = file.durable.clone();
            for pending in &file.pending {
                apply(&mut file.visible, &pending.change, |_| true);
            }
        }
    }

    fn crash_names(&mut self, random: &SplitMix64) {
        let changes = std::mem::take(&mut self.pending_names);
        // A journal commits in order; a file system without one does what it likes.
        let prefix = random.next().is_multiple_of(2).then(|| random.next() % (changes.len() as u64 + 1));
        for (index, change) in changes.iter().enumerate() {
            let kept = match prefix {
                Some(prefix) => (index as u64) < prefix,
                None => random.next().is_multiple_of(2),
            };
            if kept {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
    }

    /// A file's bytes as reads see them; `None` if it does not exist. For tests.
    pub fn contents(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let inode = self.names.get(path.as_ref())?;
        self.files.get(inode).map(|file| file.visible.clone())
    }

    /// Changes one byte of a file, durably: what bad hardware does. False if the file does not reach so far. For tests.
    pub fn corrupt(&mut self, path: impl AsRef<Path>, position: usize) -> bool {
        let Some(inode) = self.names.get(path.as_ref()).copied() else { return false };
        let file = self.file(inode);
        match (file.visible.get_mut(position), file.durable.get_mut(position)) {
            (Some(visible), Some(durable)) => {
                *visible ^= 0x5a;
                *durable = *visible;
                true
            }
            _ => false,
        }
    }

    /// The paths of all files, sorted. For tests.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.names.keys().cloned().collect()
    }
}

/// Applies a change to a file's bytes; of a write, the sectors that `keep` lets through.
fn apply(contents: &mut Vec<u8>, change: &Change, mut keep: impl FnMut(usize) -> bool) {
    match change {
        Change::Truncate { len } => {
            if keep(0) {
                contents.resize(*len, 0);
            }
        }
        Change::Write { position, bytes } => {
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                if keep(index) {
                    let start = position + index * SECTOR;
                    let end = start + sector.len();
                    if contents.len() < end {
                        contents.resize(end, 0);
                    }
                    contents[start..end].copy_from_slice(sector);
                }
            }
        }
    }
}

fn shuffle<T>(items: &mut [T], random: &SplitMix64) {
    for last in (1..items.len()).rev() {
        let other = usize::try_from(random.next() % (last as u64 + 1)).expect("an index");
        items.swap(last, other);
    }
}
