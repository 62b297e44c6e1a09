//! DDL: ordinary transactions over the catalog's rows, so that it commits, rolls back and recovers like data.
//!
//! DDL statements of concurrent transactions take turns: each first locks the catalog (an ordinary table lock on pg_class)
//! until its transaction ends.

use std::sync::Arc;

use crate::base::{Oid, StorageId};
use crate::catalog::{
    Catalog, ColumnDef, LayoutCell, Object, ObjectKey, ObjectKind, PrimaryKey, TableAcls, TableDef, statistics_key,
};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{CommandTag, ExecContext, Notice};
use crate::exec::keys::{describe_key, key_of_row};
use crate::exec::programs::{Overwrite, Remove};
use crate::exec::{privileges, role};
use crate::shard::{CATALOG_STORAGE, EngineError, KeyRange, OnExisting, ScanSpec};
use crate::sql::ddl::Ddl;
use crate::storage::Key;
use crate::txn::{LockWait, TableLock};
use crate::types::Datum;

/// The OID of pg_class: what DDL locks.
const CATALOG_LOCK: Oid = Oid(1259);
/// Overlays of transactions are numbered from here, so that a plan bound against one never passes for another catalog's.
const OVERLAY_VERSIONS: u64 = 1 << 62;

/// Carries out a DDL statement. What the transaction then sees is in `context.catalog`.
pub async fn execute(ddl: &Ddl, context: &mut ExecContext<'_>) -> SqlResult<CommandTag> {
    // Before the lock: hashing a password takes its time.
    let verifier = match ddl {
        Ddl::Role(statement) => role::hash_password(statement, context).await?,
        _ => None,
    };
    lock_catalog(context).await?;
    match ddl {
        Ddl::Role(statement) => role::execute(statement, verifier, context).await,
        Ddl::Privileges(statement) => privileges::execute(statement, context).await,
        Ddl::CreateTable { schema, name, if_not_exists, columns, primary_key, options } => {
            let new = NewTable { schema: *schema, name, columns, primary_key: primary_key.as_ref(), options };
            create_table(&new, *if_not_exists, context).await?;
            Ok(CommandTag::Plain("CREATE TABLE"))
        }
        Ddl::DropTable { tables, missing } => {
            for name in missing {
                context.notices.push(Notice::new(format!("table \"{name}\" does not exist, skipping")));
            }
            for table in tables {
                drop_table(table, context).await?;
            }
            Ok(CommandTag::Plain("DROP TABLE"))
        }
        Ddl::Truncate { tables } => {
            for table in tables {
                truncate(table, context).await?;
            }
            Ok(CommandTag::Plain("TRUNCATE TABLE"))
        }
        Ddl::ChangeOwner { table, to } => {
            let owner = role::new_owner(to, table, context)?;
            change_owner(table, owner, context).await?;
            Ok(CommandTag::Plain("ALTER TABLE"))
        }
        Ddl::AddPrimaryKey { table, name, columns } => {
            add_primary_key(table, name, columns, context).await?;
            Ok(CommandTag::Plain("ALTER TABLE"))
        }
    }
}

struct NewTable<'d> {
    schema: Oid,
    name: &'d str,
    columns: &'d [ColumnDef],
    primary_key: Option<&'d (String, Vec<usize>)>,
    options: &'d [(String, String)],
}

/// Whether a name is taken, as this transaction and as the newest commit see it: another session may have created it while
/// this one waited for its turn.
fn find_table(schema: Oid, name: &str, context: &ExecContext<'_>) -> bool {
    let key = (schema, name.to_owned());
    context.catalog.table_names.contains_key(&key)
        || context.catalog.version < OVERLAY_VERSIONS && context.store.current().table_names.contains_key(&key)
}

async fn create_table(new: &NewTable<'_>, if_not_exists: bool, context: &mut ExecContext<'_>) -> SqlResult<()> {
    if find_table(new.schema, new.name, context) {
        let message = format!("relation \"{}\" already exists", new.name);
        if if_not_exists {
            let mut notice = Notice::new(format!("{message}, skipping"));
            notice.fields = SqlError::new(SqlState::DUPLICATE_TABLE, notice.fields.message());
            context.notices.push(notice);
            return Ok(());
        }
        return Err(SqlError::new(SqlState::DUPLICATE_TABLE, message));
    }
    let mut columns = new.columns.to_vec();
    let primary_key = new.primary_key.map(|(name, key)| {
        for column in key {
            columns[*column].not_null = true;
        }
        PrimaryKey {
            index_oid: context.store.next_oid(),
            constraint_oid: context.store.next_oid(),
            name: name.clone(),
            columns: key.clone(),
        }
    });
    let owner = context.session.role();
    let mut table = TableDef {
        oid: context.store.next_oid(),
        schema: new.schema,
        name: new.name.to_owned(),
        owner,
        acls: TableAcls {
            table: newest_catalog(context).acl_of_new(ObjectKind::Table, owner, new.schema)?,
            ..TableAcls::default()
        },
        columns,
        primary_key,
        storage: StorageId(0),
        options: new.options.to_vec(),
        layout: LayoutCell::default(),
    };
    let engine = context.engine.clone();
    table.storage = engine.create_storage(context.txn, table.key_kind()).await?;
    engine.lock_table(context.txn, table.oid, TableLock::AccessExclusive, LockWait::Block).await?;
    put(Object::Table(Box::new(table)), context).await
}

/// Locks a table for DDL and takes its newest definition: it may have changed while this transaction waited.
async fn lock_newest(table: &TableDef, context: &mut ExecContext<'_>) -> SqlResult<Arc<TableDef>> {
    let engine = context.engine.clone();
    engine.lock_table(context.txn, table.oid, TableLock::AccessExclusive, LockWait::Block).await?;
    let newest = newest_catalog(context);
    let missing = || SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", table.name));
    newest.tables.get(&table.oid).cloned().ok_or_else(missing)
}

pub(super) async fn drop_table(table: &TableDef, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let table = lock_newest(table, context).await?;
    let engine = context.engine.clone();
    engine.drop_storage(context.txn, table.storage);
    let view = engine.write_view(context.txn);
    if newest_catalog(context).statistics.contains_key(&table.oid) {
        let key = Key::Int(statistics_key(table.oid));
        engine.modify(context.txn, &view, CATALOG_STORAGE, key, Arc::new(Remove)).await?;
    }
    remove(Object::Table(Box::new(TableDef::clone(&table))), context).await
}

/// Gives a table to another role, which takes the old owner's place in what has been granted.
pub(super) async fn change_owner(table: &TableDef, owner: Oid, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let table = lock_newest(table, context).await?;
    let acls = table.acls.of_new_owner(table.owner, owner);
    put(Object::Table(Box::new(TableDef { owner, acls, ..TableDef::clone(&table) })), context).await
}

async fn truncate(table: &TableDef, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let table = lock_newest(table, context).await?;
    let engine = context.engine.clone();
    let fresh = engine.create_storage(context.txn, table.key_kind()).await?;
    engine.drop_storage(context.txn, table.storage);
    if let Some(known) = newest_catalog(context).statistics.get(&table.oid) {
        put(Object::Statistics(Box::new(known.emptied())), context).await?;
    }
    put(Object::Table(Box::new(TableDef { storage: fresh, ..TableDef::clone(&table) })), context).await
}

async fn add_primary_key(table: &TableDef, name: &str, columns: &[usize], context: &mut ExecContext<'_>) -> SqlResult<()> {
    let old = lock_newest(table, context).await?;
    if old.primary_key.is_some() {
        let message = format!("multiple primary keys for table \"{}\" are not allowed", old.name);
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    }
    let mut new = TableDef::clone(&old);
    for column in columns {
        new.columns[*column].not_null = true;
    }
    new.primary_key = Some(PrimaryKey {
        index_oid: context.store.next_oid(),
        constraint_oid: context.store.next_oid(),
        name: name.to_owned(),
        columns: columns.to_vec(),
    });
    let engine = context.engine.clone();
    new.storage = engine.create_storage(context.txn, new.key_kind()).await?;
    rewrite(&old, &new, context).await?;
    engine.drop_storage(context.txn, old.storage);
    put(Object::Table(Box::new(new)), context).await
}

/// Copies a table's rows to a storage ordered by its new primary key.
async fn rewrite(old: &TableDef, new: &TableDef, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let engine = context.engine.clone();
    // Taken after the lock: nothing changes the table from here on.
    let view = engine.write_view(context.txn);
    let spec =
        ScanSpec { storage: old.storage, range: KeyRange::all(), reverse: false, filter: None, limit: None, with_keys: false };
    let key_columns = &new.primary_key.as_ref().expect("the new table has one").columns;
    let mut cursor = engine.scan(view, spec);
    let mut values: Vec<Datum> = Vec::new();
    while let Some(batch) = cursor.next().await? {
        let mut rows = Vec::with_capacity(batch.len());
        for row in batch.iter().flatten() {
            values.clear();
            old.layout().view(row).get_all(&mut values);
            if let Some(column) = key_columns.iter().find(|column| values[**column].is_null()) {
                let (column, table) = (&new.columns[*column].name, &new.name);
                let message = format!("column \"{column}\" of relation \"{table}\" contains null values");
                return Err(SqlError::new(SqlState::NOT_NULL_VIOLATION, message));
            }
            let key = key_of_row(new, &values)?.expect("the new table has a primary key");
            rows.push((key, row.to_vec()));
        }
        let kept = rows.clone();
        match engine.insert(context.txn, &view, new.storage, rows).await {
            Ok(()) => {}
            Err(EngineError::DuplicateKey { key, .. }) => return Err(duplicate(new, &key, &kept, context)),
            Err(error) => return Err(error.into()),
        }
        if crate::runtime::should_yield() {
            crate::runtime::yield_now().await;
        }
    }
    Ok(())
}

fn duplicate(table: &TableDef, key: &Key, rows: &[(Key, Vec<u8>)], context: &ExecContext<'_>) -> SqlError {
    let name = table.primary_key.as_ref().map_or("", |primary| &primary.name);
    let error = SqlError::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{name}\""));
    match rows.iter().find(|(other, _)| other == key) {
        Some((_, row)) => {
            let named = describe_key(table, &table.layout().view(row), context.session.format());
            error.detail(format!("Key {named} is duplicated."))
        }
        None => error,
    }
}

/// Takes this transaction's turn at changing the catalog.
pub(super) async fn lock_catalog(context: &mut ExecContext<'_>) -> SqlResult<()> {
    Ok(context.engine.lock_table(context.txn, CATALOG_LOCK, TableLock::Exclusive, LockWait::Block).await?)
}

/// The catalog as the transaction has changed it, or else the newest there is: that which its snapshot shows may be older.
pub(super) fn newest_catalog(context: &ExecContext<'_>) -> Arc<Catalog> {
    if context.catalog.version < OVERLAY_VERSIONS { context.store.current() } else { context.catalog.clone() }
}

/// Writes a catalog object and shows it to the transaction.
pub(super) async fn put(object: Object, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let engine = context.engine.clone();
    let view = engine.write_view(context.txn);
    let bytes = object.encode();
    let row = (Key::Int(object.key()), bytes.clone());
    engine.insert_rows(context.txn, &view, CATALOG_STORAGE, vec![row], OnExisting::Update(Arc::new(Overwrite(bytes)))).await?;
    overlay(context, |catalog| catalog.put(object));
    Ok(())
}

/// Takes a catalog object away.
pub(super) async fn remove(object: Object, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let engine = context.engine.clone();
    let view = engine.write_view(context.txn);
    engine.modify(context.txn, &view, CATALOG_STORAGE, Key::Int(object.key()), Arc::new(Remove)).await?;
    let key = ObjectKey::of(object.key()).expect("an object's key is of a kind");
    overlay(context, |catalog| catalog.remove(key));
    Ok(())
}

/// Changes what the transaction sees of the catalog.
fn overlay(context: &mut ExecContext<'_>, change: impl FnOnce(&mut Catalog)) {
    let mut catalog = Catalog::clone(&newest_catalog(context));
    change(&mut catalog);
    // OIDs are never given out twice, so this number names one overlay of one transaction.
    catalog.version = OVERLAY_VERSIONS + u64::from(context.store.next_oid().0);
    context.catalog = Arc::new(catalog);
}
