//! Files and directories.
//!
//! Writes are whole blocks at block boundaries ([`BLOCK`]) from [`IoBuf`]s, on every backend, so that code that works in the
//! simulator works with direct I/O. Durability is explicit: file contents after [`File::sync_data`], creations, renames and
//! removals after [`sync_dir`] of the directory, nothing before.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::context::{self, Backend};
use super::glommio::file::GlommioFile;
pub use super::iobuf::{BLOCK, IoBuf};
use super::sim::{self, SimFile};
use super::task::run_blocking;

/// How much [`File::preallocate_zeroed`] and large reads move with one request, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// How to open a file. Every file can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// Create it if it does not exist (implies `write`).
    pub create: bool,
    /// Open it for writing too.
    pub write: bool,
}

impl OpenMode {
    /// An existing file, for reading.
    pub const READ: OpenMode = OpenMode { create: false, write: false };
    /// An existing file, for reading and writing.
    pub const WRITE: OpenMode = OpenMode { create: false, write: true };
    /// A file that is created if absent, for reading and writing.
    pub const CREATE: OpenMode = OpenMode { create: true, write: true };
}

enum Inner {
    Glommio(GlommioFile),
    Sim(SimFile),
}

/// An open file, used on the core that opened it. Closed when dropped.
pub struct File {
    inner: Inner,
    path: PathBuf,
}

impl File {
    /// Opens a file.
    pub async fn open(path: impl AsRef<Path>, mode: OpenMode) -> io::Result<File> {
        let path = path.as_ref().to_owned();
        let backend = context::with_backend(Backend::clone);
        let inner = match backend {
            Backend::Glommio(_) => Inner::Glommio(GlommioFile::open(&path, mode).await?),
            Backend::Sim(core) => Inner::Sim(SimFile::open(Rc::clone(core.world()), &path, mode).await?),
        };
        Ok(File { inner, path })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether writes bypass the kernel's page cache.
    pub fn is_direct(&self) -> bool {
        match &self.inner {
            Inner::Glommio(file) => file.is_direct(),
            Inner::Sim(_) => true,
        }
    }

    /// Reads up to `len` bytes at `position`, neither of which need be aligned. Fewer come back only at the end of the file.
    pub async fn read_at(&self, position: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let from = position + bytes.len() as u64;
            let block_start = from - from % BLOCK as u64;
            let skip = usize::try_from(from - block_start).expect("less than a block");
            let wanted = len - bytes.len();
            let request = (skip + wanted).next_multiple_of(BLOCK).min(CHUNK_BYTES);
            let got = match &self.inner {
                Inner::Glommio(file) => {
                    let read = file.read_blocks(block_start, request).await?;
                    append_read(&mut bytes, read.as_ref(), skip, wanted)
                }
                Inner::Sim(file) => append_read(&mut bytes, &file.read(block_start, request).await?, skip, wanted),
            };
            if got == 0 {
                break;
            }
        }
        Ok(bytes)
    }

    /// Writes the whole buffer at `position`, a multiple of [`BLOCK`]. Durable after [`sync_data`](Self::sync_data).
    ///
    /// After an error the blocks concerned may hold the old bytes, the new ones or a mixture.
    pub async fn write_at(&self, buffer: &IoBuf, position: u64) -> io::Result<()> {
        assert!(position.is_multiple_of(BLOCK as u64), "writes start at a block, not at {position}");
        match &self.inner {
            Inner::Glommio(file) => file.write(buffer, position).await,
            Inner::Sim(file) => file.write(buffer, position).await,
        }
    }

    /// Writes the whole buffer at `position`, a multiple of [`BLOCK`], and makes it durable, together with every write
    /// that has returned.
    ///
    /// An error means what it means for [`sync_data`](Self::sync_data).
    pub async fn write_durable(&self, buffer: &IoBuf, position: u64) -> io::Result<()> {
        assert!(position.is_multiple_of(BLOCK as u64), "writes start at a block, not at {position}");
        match &self.inner {
            Inner::Glommio(file) => file.write_durable(buffer, position).await,
            Inner::Sim(file) => {
                file.write(buffer, position).await?;
                file.sync_data().await
            }
        }
    }

    /// Makes every write that has returned durable, and the length with it (`fdatasync`).
    ///
    /// An error means that any of them may be lost even if a later call succeeds: never retry, stop.
    pub async fn sync_data(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Glommio(file) => file.sync_data().await,
            Inner::Sim(file) => file.sync_data().await,
        }
    }

    /// Fills a new file with `len` zero bytes (a multiple of [`BLOCK`]) and makes them durable, so that later writes within
    /// it change no metadata and `fdatasync` costs one device flush.
    pub async fn preallocate_zeroed(&self, len: u64) -> io::Result<()> {
        assert!(len > 0 && len.is_multiple_of(BLOCK as u64), "files are preallocated in whole blocks, not {len} bytes");
        match &self.inner {
            Inner::Glommio(file) => {
                // Contiguous space if the file system can; one that cannot takes the zeros below anyway.
                match file.reserve(len).await {
                    Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            Inner::Sim(_) => {}
        }
        let chunk = u64::try_from(CHUNK_BYTES).expect("a constant").min(len);
        let mut zeros = IoBuf::zeroed(usize::try_from(chunk).expect("at most CHUNK_BYTES"));
        let mut position = 0;
        while position < len {
            let rest = len - position;
            if rest < chunk {
                zeros.truncate(usize::try_from(rest).expect("less than a chunk"));
            }
            self.write_at(&zeros, position).await?;
            position += zeros.len() as u64;
        }
        self.sync_data().await
    }

    /// The file's length in bytes.
    pub async fn len(&self) -> io::Result<u64> {
        match &self.inner {
            Inner::Glommio(file) => file.len().await,
            Inner::Sim(file) => file.len().await,
        }
    }

    /// Whether the file has no bytes.
    pub async fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len().await? == 0)
    }

    /// Cuts or extends the file to `len` bytes. Durable after [`sync_data`](Self::sync_data).
    pub async fn truncate(&self, len: u64) -> io::Result<()> {
        match &self.inner {
            Inner::Glommio(file) => file.truncate(len).await,
            Inner::Sim(file) => file.truncate(len).await,
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({})", self.path.display())
    }
}

/// Whether an error says that there is no room: it may pass, and what was not written has not been.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Appends what a read of whole blocks gave, from `skip` on and at most `wanted`; how many bytes that was.
fn append_read(bytes: &mut Vec<u8>, read: &[u8], skip: usize, wanted: usize) -> usize {
    let useful = read.get(skip..).unwrap_or_default();
    let useful = &useful[..useful.len().min(wanted)];
    bytes.extend_from_slice(useful);
    useful.len()
}

/// Copies the first `used` bytes of a file into a new one and fills it with zeros up to `len` bytes, both whole blocks or the file's end.
/// The contents are durable on return.
pub async fn copy_file(from: &Path, to: &Path, used: u64, len: u64) -> io::Result<()> {
    let source = File::open(from, OpenMode::READ).await?;
    let target = File::open(to, OpenMode::CREATE).await?;
    let mut position = 0;
    while position < len {
        let chunk = (len - position).min(CHUNK_BYTES as u64);
        let wanted = used.saturating_sub(position).min(chunk);
        let mut bytes = source.read_at(position, usize::try_from(wanted).expect("at most a chunk")).await?;
        if (bytes.len() as u64) < wanted {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it should be"));
        }
        bytes.resize(usize::try_from(chunk).expect("at most a chunk"), 0);
        target.write_at(&IoBuf::padded(&bytes), position).await?;
        position += chunk;
    }
    target.truncate(len).await?;
    target.sync_data().await
}

/// Renames a file, replacing `to` if it exists, or a directory, replacing an empty one. Atomic; durable after [`sync_dir`] of the directory.
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
    match context::with_backend(Backend::clone) {
        Backend::Glommio(_) => run_blocking(move || std::fs::rename(from, to)).await,
        Backend::Sim(core) => sim::names(core.world(), |disk| disk.rename(&from, &to)).await,
    }
}

/// Removes a file. Durable after [`sync_dir`] of its directory.
pub async fn remove(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    match context::with_backend(Backend::clone) {
        Backend::Glommio(_) => run_blocking(move || std::fs::remove_file(path)).await,
        Backend::Sim(core) => sim::names(core.world(), |disk| disk.remove(&path)).await,
    }
}

/// Removes a directory and everything in it.
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    match context::with_backend(Backend::clone) {
        Backend::Glommio(_) => run_blocking(move || std::fs::remove_dir_all(path)).await,
        Backend::Sim(core) => sim::names(core.world(), |disk| disk.remove_dir_all(&path)).await,
    }
}

/// Makes creations, renames and removals in a directory durable.
///
/// A full `fsync`: ext4's `fdatasync` skips the journal commit of a directory whose size did not change, and with it the
/// rename it was called for.
pub async fn sync_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    match context::with_backend(Backend::clone) {
        Backend::Glommio(_) => run_blocking(move || std::fs::File::open(path)?.sync_all()).await,
        Backend::Sim(core) => sim::sync_dir(core.world(), &path).await,
    }
}

/// The names in a directory, sorted.
pub async fn list_dir(path: impl AsRef<Path>) -> io::Result<Vec<String>> {
    let path = path.as_ref().to_owned();
    match context::with_backend(Backend::clone) {
        Backend::Glommio(_) => run_blocking(move || list_dir_blocking(&path)).await,
        Backend::Sim(core) => sim::names(core.world(), |disk| disk.list_dir(&path)).await,
    }
}

fn list_dir_blocking(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        names.push(name.into_string().map_err(|name| {
            io::Error::new(io::ErrorKind::InvalidData, format!("a file name that is not UTF-8: {}", name.display()))
        })?);
    }
    names.sort();
    Ok(names)
}

/// Creates a directory and its parents; no error if it exists. New directories are durable after [`sync_dir`] of the parent.
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    match context::with_backend(Backend::clone) {
        Backend::Glommio(_) => run_blocking(move || std::fs::create_dir_all(path)).await,
        Backend::Sim(core) => {
            sim::names(core.world(), |disk| disk.create_dir_all(&path)).await;
            Ok(())
        }
    }
}

/// Whether a file or directory exists.
pub async fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    let path = path.as_ref().to_owned();
    match context::with_backend(Backend::clone) {
        Backend::Glommio(_) => run_blocking(move || path.try_exists()).await,
        Backend::Sim(core) => Ok(sim::names(core.world(), |disk| disk.exists(&path)).await),
    }
}

/// Reads a whole file of at most `len_max` bytes; a larger one is an error.
pub async fn read_small_file(path: impl AsRef<Path>, len_max: usize) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let file = File::open(path, OpenMode::READ).await?;
    let len = file.len().await?;
    if len > len_max as u64 {
        let message = format!("{} has {len} bytes, more than the {len_max} it may have", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    file.read_at(0, usize::try_from(len).expect("at most len_max")).await
}

/// Replaces a file's contents so that a crash leaves either the old or the new file, whole; durable on return.
///
/// Writes `<path>.new`, syncs it, renames it over `path` and syncs the directory. One caller a path at a time.
pub async fn write_file_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    let mut name = path.file_name().expect("a path to a file").to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let file = File::open(&temporary, OpenMode::CREATE).await?;
    let buffer = IoBuf::padded(bytes);
    file.write_at(&buffer, 0).await?;
    file.truncate(bytes.len() as u64).await?;
    file.sync_data().await?;
    drop(file);
    rename(&temporary, path).await?;
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => sync_dir(directory).await,
        _ => sync_dir(".").await,
    }
}
