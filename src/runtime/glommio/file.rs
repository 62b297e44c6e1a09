//! Files on io_uring: direct I/O where the file system takes it, buffered where it does not.

use std::future::poll_fn;
use std::io;
use std::path::Path;

use glommio::io::{BufferedFile, DmaFile, OpenOptions};

use super::ring::Ring;
use crate::runtime::context;
use crate::runtime::fs::OpenMode;
use crate::runtime::iobuf::{BLOCK, IoBuf};

/// Aligned memory that glommio can write from.
pub(in crate::runtime) type DmaMemory = glommio::io::DmaBuffer;

/// `len` zero bytes. Needs no executor.
pub(in crate::runtime) fn zeroed_memory(len: usize) -> DmaMemory {
    let mut memory = glommio::allocate_dma_buffer_global(len);
    memory.as_bytes_mut().fill(0);
    memory
}

/// An open file of a glommio core.
pub(in crate::runtime) enum GlommioFile {
    /// `O_DIRECT`: the kernel's page cache is not involved.
    Direct(DmaFile),
    /// Through the page cache, on file systems that refuse `O_DIRECT`.
    Buffered(BufferedFile),
}

impl GlommioFile {
    pub(in crate::runtime) async fn open(path: &Path, mode: OpenMode) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode.write || mode.create).create(mode.create).mode(0o600);
        match in_reactor(options.dma_open(path)).await {
            Ok(file) => Ok(Self::Direct(file)),
            Err(error) => {
                let error = io::Error::from(error);
                if error.raw_os_error() == Some(libc::EINVAL) {
                    Ok(Self::Buffered(in_reactor(options.buffered_open(path)).await?))
                } else {
                    Err(error)
                }
            }
        }
    }

    pub(in crate::runtime) fn is_direct(&self) -> bool {
        matches!(self, Self::Direct(_))
    }

    /// One read request of whole blocks; fewer bytes come back at the end of the file.
    pub(in crate::runtime) async fn read_blocks(&self, position: u64, len: usize) -> io::Result<impl AsRef<[u8]> + use<>> {
        assert!(position.is_multiple_of(BLOCK as u64) && len.is_multiple_of(BLOCK), "reads are of whole blocks");
        let read = match self {
            Self::Direct(file) => in_reactor(file.read_at_aligned(position, len)).await?,
            Self::Buffered(file) => in_reactor(file.read_at(position, len)).await?,
        };
        Ok(ReadBytes(read))
    }

    /// Writes the whole buffer.
    pub(in crate::runtime) async fn write(&self, buffer: &IoBuf, position: u64) -> io::Result<()> {
        let written = match self {
            Self::Direct(file) => in_reactor(file.write_rc_at(buffer.share(), position)).await?,
            Self::Buffered(file) => in_reactor(file.write_at(buffer.as_slice().to_vec(), position)).await?,
        };
        match rest_of(buffer, written)? {
            Some(rest) => Box::pin(self.write(&rest, position + written as u64)).await,
            None => Ok(()),
        }
    }

    /// Writes the whole buffer and makes it durable, in one go.
    pub(in crate::runtime) async fn write_durable(&self, buffer: &IoBuf, position: u64) -> io::Result<()> {
        let Self::Direct(file) = self else {
            self.write(buffer, position).await?;
            return self.sync_data().await;
        };
        let (write, sync) = context::glommio_core().ring().write_and_sync(file, buffer.share(), position);
        let written = poll_fn(|cx| Ring::poll_done(&write, cx)).await?;
        match rest_of(buffer, written)? {
            // Its sync covers what has been written, too.
            Some(rest) => Box::pin(self.write_durable(&rest, position + written as u64)).await,
            None => poll_fn(|cx| Ring::poll_done(&sync, cx)).await.map(|_zero| ()),
        }
    }

    pub(in crate::runtime) async fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Direct(file) => in_reactor(file.fdatasync()).await?,
            Self::Buffered(file) => in_reactor(file.fdatasync()).await?,
        }
        Ok(())
    }

    /// Reserves disk space without changing the length.
    pub(in crate::runtime) async fn reserve(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Direct(file) => in_reactor(file.pre_allocate(len, true)).await?,
            Self::Buffered(file) => in_reactor(file.pre_allocate(len, true)).await?,
        }
        Ok(())
    }

    pub(in crate::runtime) async fn truncate(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Direct(file) => in_reactor(file.truncate(len)).await?,
            Self::Buffered(file) => in_reactor(file.truncate(len)).await?,
        }
        Ok(())
    }

    pub(in crate::runtime) async fn len(&self) -> io::Result<u64> {
        let len = match self {
            Self::Direct(file) => in_reactor(file.file_size()).await?,
            Self::Buffered(file) => in_reactor(file.file_size()).await?,
        };
        Ok(len)
    }
}

async fn in_reactor<T>(future: impl Future<Output = T>) -> T {
    context::glommio_core().in_reactor(future).await
}

/// What a write has left to do. Rare: the kernel stops early when the disk fills up or a signal arrives, and the next write
/// reports which.
fn rest_of(buffer: &IoBuf, written: usize) -> io::Result<Option<IoBuf>> {
    assert!(written <= buffer.len(), "the kernel cannot write more than it was given");
    if written == buffer.len() {
        return Ok(None);
    }
    if written == 0 || !written.is_multiple_of(BLOCK) {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "the kernel wrote only a part of a file write"));
    }
    Ok(Some(IoBuf::padded(&buffer.as_slice()[written..])))
}

struct ReadBytes(glommio::io::ReadResult);

impl AsRef<[u8]> for ReadBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
