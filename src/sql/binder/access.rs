//! Who may use what.
//!
//! Each mention of a table that its role does not have to itself is noted with what the statement does with it: which columns are read,
//! inserted and updated. When everything is bound, what was noted is held against what has been granted. A refusal becomes part of the
//! plan, for whoever runs it to say: preparing a statement is allowed to all, as in PostgreSQL. So executing a plan asks nothing; a plan is
//! good for the role and the version of the catalog that it was made for.
//!
//! Names of schemas are different: one that the role may not use hides its tables while they are looked up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::Oid;
use crate::catalog::acl::ask::Holder;
use crate::catalog::role::PG_READ_ALL_DATA;
use crate::catalog::system::SystemTable;
use crate::catalog::{ObjectKind, Privileges, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::Binder;
use crate::sql::utility::{TableLock, Utility};

/// 42501.
pub fn denied(message: String) -> SqlError {
    SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
}

fn denied_table(table: &TableDef) -> SqlError {
    denied(format!("permission denied for table {}", table.name))
}

/// What a statement does with one mention of a table.
#[derive(Debug)]
pub struct Usage {
    table: Arc<TableDef>,
    /// How deep the query is nested that mentions it: outer ones are refused first.
    depth: usize,
    required: Cell<Privileges>,
    selected: RefCell<BTreeSet<usize>>,
    inserted: RefCell<BTreeSet<usize>>,
    updated: RefCell<BTreeSet<usize>>,
}

/// A mention, unless there is nothing to ask.
pub type Mention = Option<Rc<Usage>>;

impl Usage {
    /// These privileges are needed, on the table or some columns.
    pub fn require(&self, privileges: Privileges) {
        self.required.set(self.required.get().with(privileges));
    }

    /// A column (0-based) is read.
    pub fn select(&self, column: usize) {
        self.require(Privileges::SELECT);
        self.selected.borrow_mut().insert(column);
    }

    /// A column is given a value in new rows.
    pub fn insert(&self, column: usize) {
        self.inserted.borrow_mut().insert(column);
    }

    /// A column is changed.
    pub fn update(&self, column: usize) {
        self.updated.borrow_mut().insert(column);
    }

    /// All columns are read.
    pub fn select_all(&self) {
        (0..self.table.columns.len()).for_each(|column| self.select(column));
    }
}

impl Binder<'_> {
    fn role(&self) -> Oid {
        self.context.session.role()
    }

    /// Notes that a table is mentioned and what for.
    pub fn mention(&self, table: &Arc<TableDef>, privileges: Privileges) -> Mention {
        let held = self.context.catalog.held_on_table(Holder::Role(self.role()), table).privileges;
        if held.contains(ObjectKind::Table.all()) {
            return None;
        }
        let usage = Rc::new(Usage {
            table: Arc::clone(table),
            depth: self.query_depth.get(),
            required: Cell::new(privileges),
            selected: RefCell::default(),
            inserted: RefCell::default(),
            updated: RefCell::default(),
        });
        self.usages.borrow_mut().push(Rc::clone(&usage));
        Some(usage)
    }

    /// How many mentions there are so far.
    pub fn mentions(&self) -> usize {
        self.usages.borrow().len()
    }

    /// Takes the mentions since there were so many: they do not count unless they are noted again.
    pub fn take_mentions(&self, from: usize) -> Vec<Rc<Usage>> {
        self.usages.borrow_mut().split_off(from)
    }

    /// Notes mentions that were taken.
    pub fn note_mentions(&self, mentions: Vec<Rc<Usage>>) {
        self.usages.borrow_mut().extend(mentions);
    }

    /// Rows of what the query itself mentions, since there were so many, are locked.
    pub fn lock_mentions(&self, from: usize) {
        let usages = self.usages.borrow();
        // Their depth is one: a query that locks is never nested.
        usages[from..].iter().filter(|usage| usage.depth == 1).for_each(|usage| usage.require(Privileges::UPDATE));
    }

    /// Why the role may not run the statement, if so.
    pub fn refusal(&self) -> Option<SqlError> {
        let mut usages = self.usages.borrow().clone();
        usages.sort_by_key(|usage| usage.depth);
        usages.iter().find(|usage| !self.allows(usage)).map(|usage| denied_table(&usage.table)).or_else(|| self.refused.take())
    }

    fn allows(&self, usage: &Usage) -> bool {
        let (catalog, holder, table) = (self.context.catalog, Holder::Role(self.role()), &usage.table);
        let missing = usage.required.get().without(catalog.held_on_table(holder, table).privileges);
        let by_column =
            [(Privileges::SELECT, &usage.selected), (Privileges::INSERT, &usage.inserted), (Privileges::UPDATE, &usage.updated)];
        let mut left = missing;
        for (privilege, columns) in by_column.into_iter().filter(|(privilege, _)| missing.contains(*privilege)) {
            let has = |column: usize| catalog.held_on_column(holder, table, column).privileges.contains(privilege);
            let columns = columns.borrow();
            // Who names no column, as count(*) does, needs the privilege on any.
            let all = if columns.is_empty() { (0..table.columns.len()).any(has) } else { columns.iter().copied().all(has) };
            if !all {
                return false;
            }
            left = left.without(privilege);
        }
        left.is_empty()
    }

    /// Notes a refusal unless the role has one of the privileges that LOCK TABLE asks for.
    pub fn mention_locked(&self, table: &TableDef, mode: TableLock) {
        let writes = Privileges::UPDATE.with(Privileges::DELETE).with(Privileges::TRUNCATE);
        let any_of = match mode {
            TableLock::AccessShare => Privileges::SELECT,
            TableLock::RowExclusive => writes.with(Privileges::INSERT),
            _ => writes,
        };
        let held = self.context.catalog.held_on_table(Holder::Role(self.role()), table).privileges;
        if !held.intersects(any_of) {
            let first = self.refused.take().unwrap_or_else(|| denied_table(table));
            self.refused.set(Some(first));
        }
    }

    /// 42501 unless the table may be emptied.
    pub fn check_truncate(&self, table: &TableDef) -> SqlResult<()> {
        let held = self.context.catalog.held_on_table(Holder::Role(self.role()), table).privileges;
        if held.contains(Privileges::TRUNCATE) { Ok(()) } else { Err(denied_table(table)) }
    }

    /// Whether the session's role owns a table, or has the privileges of the role that does.
    pub fn owns(&self, table: &TableDef) -> bool {
        self.context.catalog.has_privileges_of(self.role(), table.owner)
    }

    /// 42501 unless the table may be changed itself.
    pub fn check_ownership(&self, table: &TableDef) -> SqlResult<()> {
        if self.owns(table) { Ok(()) } else { Err(denied(format!("must be owner of table {}", table.name))) }
    }

    /// 42501 for system tables that superusers alone may read, and those who may read everything.
    pub fn check_system(&self, table: &SystemTable) -> SqlResult<()> {
        if table.is_secret() && !self.context.catalog.has_privileges_of(self.role(), PG_READ_ALL_DATA) {
            let kind = if table.is_view { "view" } else { "table" };
            return Err(denied(format!("permission denied for {kind} {}", table.name)));
        }
        Ok(())
    }

    /// Whether the session's role is a superuser.
    pub fn is_superuser(&self) -> bool {
        self.context.catalog.is_superuser(self.role())
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
