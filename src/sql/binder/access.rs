//! Who may use what. There are no privileges to be granted on tables: the owner of a table, its members and superusers have all
//! of them, everybody else none.

use crate::catalog::TableDef;
use crate::catalog::system::SystemTable;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::Binder;
use crate::sql::utility::Utility;

fn denied(message: String) -> SqlError {
    SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
}

impl Binder<'_> {
    /// Whether the session's role owns a table, or has the privileges of the role that does.
    pub fn owns(&self, table: &TableDef) -> bool {
        self.context.catalog.has_privileges_of(self.context.session.role(), table.owner)
    }

    /// 42501 unless rows of the table may be read and written.
    pub fn check_use(&self, table: &TableDef) -> SqlResult<()> {
        if self.owns(table) { Ok(()) } else { Err(denied(format!("permission denied for table {}", table.name))) }
    }

    /// 42501 unless the table may be changed itself.
    pub fn check_ownership(&self, table: &TableDef) -> SqlResult<()> {
        if self.owns(table) { Ok(()) } else { Err(denied(format!("must be owner of table {}", table.name))) }
    }

    /// 42501 for system tables that superusers alone may read.
    pub fn check_system(&self, table: &SystemTable) -> SqlResult<()> {
        if table.is_secret() && !self.is_superuser() {
            let kind = if table.is_view { "view" } else { "table" };
            return Err(denied(format!("permission denied for {kind} {}", table.name)));
        }
        Ok(())
    }

    /// Whether the session's role is a superuser.
    pub fn is_superuser(&self) -> bool {
        self.context.catalog.is_superuser(self.context.session.role())
    }

    /// 42501 for CHECKPOINT and BACKUP by others than superusers.
    pub fn check_maintainer(&self, utility: &Utility) -> SqlResult<()> {
        if self.is_superuser() {
            return Ok(());
        }
        Err(denied(match utility {
            Utility::Backup(_) => "must be superuser to do BACKUP".to_owned(),
            _ => "must be superuser or have privileges of pg_checkpoint to do CHECKPOINT".to_owned(),
        }))
    }
}
