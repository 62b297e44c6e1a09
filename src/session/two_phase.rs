//! PREPARE TRANSACTION, and COMMIT PREPARED and ROLLBACK PREPARED, which may come from any session.
//!
//! Source: PostgreSQL 15 documentation, PREPARE TRANSACTION; what happens outside a block after its `PrepareTransactionBlock`.

use crate::error::SqlResult;
use crate::session::Session;
use crate::session::backend::Backend;
use crate::session::environment::clock_micros;
use crate::session::response::Client;
use crate::session::tag::Tag;
use crate::session::transaction::Block;
use crate::shard::PrepareAs;
use crate::sql::{SessionInfo, name_of_role};

impl<B: Backend> Session<B> {
    /// PREPARE TRANSACTION. A failed transaction is rolled back, and so says the tag.
    pub(super) async fn prepare_transaction<C: Client>(&mut self, backend: &B, client: &mut C, gid: &str) -> SqlResult<Tag> {
        match self.txn.block() {
            Block::Explicit => {}
            Block::Failed => {
                self.rollback(backend).await;
                return Ok("ROLLBACK".into());
            }
            Block::Idle | Block::Implicit => {
                self.warn_of_no_transaction(client);
                if self.txn.txn().is_none() {
                    return Ok("ROLLBACK".into());
                }
            }
        }
        let said = PrepareAs {
            gid: gid.to_owned(),
            owner: self.acting(backend),
            database: self.env.database().to_owned(),
            now_micros: clock_micros(),
        };
        self.portals.clear();
        let outcome = self.txn.prepare(backend, said, self.env.effective()).await;
        match outcome {
            Ok(()) => self.env.settings_mut().commit(),
            Err(_) => self.env.settings_mut().rollback(),
        }
        self.describe_transaction();
        outcome.map(|()| "PREPARE TRANSACTION".into())
    }

    /// COMMIT PREPARED or ROLLBACK PREPARED: for superusers, and for whoever has prepared it.
    pub(super) async fn finish_prepared(&mut self, backend: &B, gid: &str, commit: bool) -> SqlResult<Tag> {
        let name = if commit { "COMMIT PREPARED" } else { "ROLLBACK PREPARED" };
        self.txn.forbid_block(name)?;
        let superuser = backend.catalog(None).is_superuser(self.env.role());
        let own = self.acting(backend);
        backend.finish_prepared(gid, commit, (!superuser).then_some(own.as_str())).await?;
        Ok(name.into())
    }

    /// The name of the role whose privileges count.
    fn acting(&self, backend: &B) -> String {
        name_of_role(self.env.role(), &self.env, &backend.catalog(self.txn.txn())).unwrap_or_default()
    }
}
