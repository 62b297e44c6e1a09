//! Recovery of a damaged data directory for somebody who has asked to go on without what is lost.
//!
//! Architecture Invariant: CUT, NOT GUESS. Unreadable records count as missing, so the cut lies before the first commit that
//! the damage has taken, and everything after it goes, on all cores. If the checkpoint is damaged, there is a cut only if the
//! logs reach back to the first commit; a state in between, with some rows and not others, is not offered.
//!
//! What is kept becomes a checkpoint at the cut, and a manifest that needs nothing else, before any old file is touched. So
//! the next start is an ordinary one, and a crash on the way leaves the damaged directory or the recovered one.

use std::path::Path;

use crate::base::CommitTs;
use crate::checkpoint::{CheckpointError, Manifest, replace_and_set_aside};
use crate::shard::boot::Boot;
use crate::shard::recovery::{BootReply, BootStep, DAMAGE_HINT};
use crate::shard::routes::encode_all_routes;
use crate::wal::cut::{self, CommitList, Cut, CutError};
use crate::wal::{Damage, Dropped, OnDamage};

/// Where recovery starts, and what it may not fall behind.
pub struct StartingPoint {
    /// The manifest, without its checkpoint if that is damaged.
    pub base: Manifest,
    /// The lowest cut that is acceptable.
    pub required: CommitTs,
    /// What is damaged in the checkpoint.
    pub damage: Option<Damage>,
}

/// Finds where to start from.
pub async fn starting_point(root: &Path, manifest: &Manifest, on_damage: OnDamage) -> Result<StartingPoint, CheckpointError> {
    let base = manifest.clone();
    if on_damage == OnDamage::Refuse {
        return Ok(StartingPoint { base, required: manifest.promised(), damage: None });
    }
    match manifest.verify_checkpoint(root).await {
        Ok(()) => Ok(StartingPoint { required: base.through, base, damage: None }),
        Err(error) => {
            let damage = Some(error.into_damage()?);
            Ok(StartingPoint { base: manifest.without_checkpoint(), required: manifest.through, damage })
        }
    }
}

impl StartingPoint {
    /// The cut of what the logs hold; the error is for people.
    pub fn cut(&self, on_damage: OnDamage, logs: &[CommitList]) -> Result<Cut, String> {
        cut::compute(self.base.through, self.required, logs).map_err(|error| match (&self.damage, &error) {
            (Some(damage), CutError::Lost { .. }) => format!(
                "the checkpoint is damaged ({damage}), and the logs do not reach back to the first commit: nothing whole can be \
                 recovered from this directory, restore it from a backup ({error})"
            ),
            (None, CutError::Lost { .. }) if on_damage == OnDamage::Refuse => format!("{error} ({DAMAGE_HINT})"),
            _ => error.to_string(),
        })
    }
}

/// Says what is damaged and what goes with it, one line each.
pub fn describe_losses(damage: &[Damage], dropped: &[Dropped], promised: CommitTs, recovered: CommitTs) -> Vec<String> {
    let mut lines: Vec<String> = damage.iter().map(|damage| format!("unreadable: {damage}")).collect();
    lines.extend(dropped.iter().map(|dropped| format!("dropped: {dropped}")));
    if recovered < promised {
        lines.push(format!("the last start had recovered everything through timestamp {promised}; now it is {recovered}"));
    }
    lines
}

impl Boot<'_> {
    /// Whether anything has to be dropped that an ordinary recovery would not drop.
    pub(super) fn is_salvage(&self, manifest: &Manifest) -> bool {
        let asked = self.options.on_damage == OnDamage::PassOver;
        asked && (!self.report.damage.is_empty() || self.report.recovered < manifest.promised())
    }

    /// Tells what will not be there any more.
    pub(super) fn tell_losses(&self, manifest: &Manifest, dropped: &[Dropped]) {
        if !self.is_salvage(manifest) {
            if self.options.on_damage == OnDamage::PassOver {
                tracing::info!("no damage was found: nothing is dropped that an ordinary start would keep");
            }
            return;
        }
        for line in describe_losses(&self.report.damage, dropped, manifest.promised(), self.report.recovered) {
            tracing::warn!("{line}");
        }
        tracing::warn!("recovered until corruption: everything through timestamp {} is kept", self.report.recovered);
    }

    /// Makes what was recovered a checkpoint of its own, and puts the damaged directory's files aside.
    pub(super) async fn start_afresh(&mut self, manifest: &Manifest) -> Result<Manifest, String> {
        let (root, through) = (&self.options.root, self.report.recovered);
        let id = manifest.next_checkpoint();
        let step = |_| BootStep::Checkpoint { id, through, root: root.clone() };
        let mut files = Vec::new();
        for reply in self.engine.ask_all(step).await? {
            if let BootReply::Checkpointed(file) = reply {
                files.extend(file);
            }
        }
        let routes = encode_all_routes(&self.engine.0.shared.ranges.load());
        let next = Manifest { engine: routes, ..manifest.salvaged(id, through, files) };
        let aside = replace_and_set_aside(root, &next).await.map_err(|error| error.to_string())?;
        tracing::warn!("the files of the damaged directory are in {}", aside.display());
        self.report.set_aside = Some(aside);
        Ok(next)
    }
}
