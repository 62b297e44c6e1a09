//! Putting the files of a damaged data directory aside when the server goes on without what is lost.
//!
//! `damaged/<incarnation>/` gets everything that the new manifest does not need: the old manifest, the old checkpoint, all logs.
//! It is a data directory itself, as it was before, so the same tools read it. Nobody ever deletes it but its owner.
//!
//! Order of durability: the old manifest's copy and the new manifest's (`MANIFEST.next`, the mark of an unfinished move), then
//! the new manifest in its place, then the moves, then the mark goes. A start that finds its own manifest marked finishes the
//! moves first, so no crash leaves old logs where they could be recycled.

use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::manifest::{MANIFEST_BYTES_MAX, Manifest};
use super::{checkpoint_directory, parse_data_file_name};
use crate::runtime::fs;
use crate::wal::logs_directory;

const MARK: &str = "MANIFEST.next";

/// Where the files go that `next` replaces.
fn directory_of(root: &Path, next: &Manifest) -> PathBuf {
    root.join("damaged").join(next.history.current().to_string())
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |cause| CheckpointError::io(doing, &path, cause)
}

/// Replaces the manifest by `next`, which needs none of the present files but its own checkpoint's, and puts the others aside.
/// Tells where.
pub async fn replace_and_set_aside(root: &Path, next: &Manifest) -> Result<PathBuf, CheckpointError> {
    let aside = directory_of(root, next);
    fs::create_dir_all(&aside).await.map_err(failed("creating", &aside))?;
    let present = Manifest::path(root);
    let old = fs::read_small_file(&present, MANIFEST_BYTES_MAX).await.map_err(failed("reading", &present))?;
    for (name, bytes) in [("MANIFEST", &old), (MARK, &next.encode())] {
        let path = aside.join(name);
        fs::write_file_atomically(&path, bytes).await.map_err(failed("writing", &path))?;
    }
    for directory in [root.join("damaged"), root.to_owned()] {
        fs::sync_dir(&directory).await.map_err(failed("syncing", &directory))?;
    }
    next.write(root).await?;
    finish_setting_aside(root, next).await?;
    Ok(aside)
}

/// Finishes what a crash may have left undone of [`replace_and_set_aside`]. `manifest` is the one in place.
pub async fn finish_setting_aside(root: &Path, manifest: &Manifest) -> Result<(), CheckpointError> {
    let aside = directory_of(root, manifest);
    let mark = aside.join(MARK);
    if !fs::exists(&mark).await.map_err(failed("looking for", &mark))? {
        return Ok(());
    }
    let marked = fs::read_small_file(&mark, MANIFEST_BYTES_MAX).await.map_err(failed("reading", &mark))?;
    if marked != manifest.encode() {
        // Its manifest was never put in place, and another start has taken the number.
        return Ok(());
    }
    let checkpoint = checkpoint_directory(root);
    let is_old = |name: &str| parse_data_file_name(name).is_some_and(|id| id != manifest.checkpoint);
    move_files(&checkpoint, &checkpoint_directory(&aside), is_old).await?;
    let logs = logs_directory(root);
    let cores = if fs::exists(&logs).await.map_err(failed("looking for", &logs))? {
        fs::list_dir(&logs).await.map_err(failed("listing", &logs))?
    } else {
        Vec::new()
    };
    for core in cores.iter().filter(|name| name.parse::<u16>().is_ok()) {
        move_files(&logs.join(core), &logs_directory(&aside).join(core), |_| true).await?;
    }
    fs::remove(&mark).await.map_err(failed("clearing", &mark))?;
    fs::sync_dir(&aside).await.map_err(failed("syncing", &aside))
}

async fn move_files(from: &Path, to: &Path, goes: impl Fn(&str) -> bool) -> Result<(), CheckpointError> {
    if !fs::exists(from).await.map_err(failed("looking for", from))? {
        return Ok(());
    }
    fs::create_dir_all(to).await.map_err(failed("creating", to))?;
    for name in fs::list_dir(from).await.map_err(failed("listing", from))?.iter().filter(|name| goes(name)) {
        let path = from.join(name);
        fs::rename(&path, to.join(name)).await.map_err(failed("moving", &path))?;
    }
    let above = to.parent().expect("below the directory that was made for it");
    for directory in [to, above, from] {
        fs::sync_dir(directory).await.map_err(failed("syncing", directory))?;
    }
    // Logs lie two levels deep.
    let upper = above.parent().expect("below the data directory");
    fs::sync_dir(upper).await.map_err(failed("syncing", upper))
}
