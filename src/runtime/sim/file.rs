//! File operations of a simulated core: the disk's model with time passing around it.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::runtime::fs::OpenMode;
use crate::runtime::iobuf::{BLOCK, IoBuf};
use crate::runtime::time::sleep;

use super::disk::{Disk, Inode};
use super::world::World;

/// The longest a read or write takes.
const TRANSFER_NANOS_MAX: u64 = 150_000;
/// The longest a sync takes.
const SYNC_NANOS_MAX: u64 = 3_000_000;
/// The longest an operation on names takes.
const NAME_NANOS_MAX: u64 = 100_000;

fn device_error() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

async fn device_time(world: &World, nanos_max: u64) {
    sleep(Duration::from_nanos(world.random_up_to(nanos_max))).await;
}

/// Waits as long as an operation on names takes, then performs it.
pub(in crate::runtime) async fn names<T>(world: &World, operation: impl FnOnce(&mut Disk) -> T) -> T {
    device_time(world, NAME_NANOS_MAX).await;
    operation(&mut world.disk().borrow_mut())
}

/// Makes the names in a directory durable, unless the disk fails.
pub(in crate::runtime) async fn sync_dir(world: &World, path: &Path) -> io::Result<()> {
    device_time(world, NAME_NANOS_MAX).await;
    let mut disk = world.disk().borrow_mut();
    if world.one_in(disk.faults.directory_error_one_in) {
        return Err(device_error());
    }
    disk.sync_dir(path)
}

/// An open file of a simulated core.
pub(in crate::runtime) struct SimFile {
    world: Rc<World>,
    inode: Inode,
    mode: OpenMode,
}

impl SimFile {
    pub(in crate::runtime) async fn open(world: Rc<World>, path: &Path, mode: OpenMode) -> io::Result<Self> {
        let inode = names(&world, |disk| disk.open(path, mode.create)).await?;
        Ok(Self { world, inode, mode })
    }

    pub(in crate::runtime) async fn read(&self, position: u64, len: usize) -> io::Result<Vec<u8>> {
        device_time(&self.world, TRANSFER_NANOS_MAX).await;
        let mut disk = self.world.disk().borrow_mut();
        if self.world.one_in(disk.faults.read_error_one_in) {
            return Err(device_error());
        }
        Ok(disk.read(self.inode, position, len))
    }

    fn assert_writable(&self) {
        assert!(self.mode.write || self.mode.create, "the file was opened for reading");
    }

    pub(in crate::runtime) async fn write(&self, buffer: &IoBuf, position: u64) -> io::Result<()> {
        self.assert_writable();
        assert!(position.is_multiple_of(BLOCK as u64), "writes start at a block, not at {position}");
        let sequence = self.world.disk().borrow_mut().begin_write(self.inode, position, buffer.as_slice())?;
        device_time(&self.world, TRANSFER_NANOS_MAX).await;
        {
            let mut disk = self.world.disk().borrow_mut();
            if self.world.one_in(disk.faults.write_error_one_in) {
                disk.fail_write(self.inode, sequence, self.world.random());
                return Err(device_error());
            }
            disk.finish(self.inode, sequence);
        }
        Ok(())
    }

    pub(in crate::runtime) async fn sync_data(&self) -> io::Result<()> {
        let covered = self.world.disk().borrow_mut().begin_sync(self.inode);
        device_time(&self.world, SYNC_NANOS_MAX).await;
        let mut disk = self.world.disk().borrow_mut();
        if self.world.one_in(disk.faults.sync_error_one_in) {
            disk.fail_sync(self.inode, &covered, self.world.random());
            return Err(device_error());
        }
        disk.finish_sync(self.inode, &covered);
        Ok(())
    }

    pub(in crate::runtime) async fn truncate(&self, len: u64) -> io::Result<()> {
        self.assert_writable();
        let sequence = self.world.disk().borrow_mut().begin_truncate(self.inode, len);
        device_time(&self.world, NAME_NANOS_MAX).await;
        self.world.disk().borrow_mut().finish(self.inode, sequence);
        Ok(())
    }

    pub(in crate::runtime) async fn len(&self) -> io::Result<u64> {
        device_time(&self.world, NAME_NANOS_MAX).await;
        Ok(self.world.disk().borrow_mut().len(self.inode))
    }
}
