//! ANALYZE: samples tables and keeps what the samples say.
//!
//! First all tables are looked at, under the statement's snapshot and without a lock; then the catalog is locked, as for DDL,
//! and everything found is written in one go. A table that has been dropped or emptied meanwhile is left out.

mod column;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::catalog::statistics;
use crate::catalog::{Catalog, ColumnStatistics, Object, TableDef, TableStatistics};
use crate::error::SqlResult;
use crate::exec::context::{ExecContext, Notice};
use crate::exec::ddl::{lock_catalog, newest_catalog, put};
use crate::exec::maintenance::warn_of_denied;
use crate::runtime;
use crate::shard::TableSample;
use crate::sql::utility::{Maintained, Maintenance};
use column::{SAMPLE_ROWS, Sampled, TARGET};

/// Bytes of the values kept for one table, at most: they are written to the log as one row.
const STATISTICS_BYTES_MAX: usize = 4 << 20;
/// Values wider than this are not kept, as in PostgreSQL.
const VALUE_BYTES_MAX: usize = 1024;
/// Rows taken apart between two looks at whether others want to run.
const STEP: usize = 256;

/// What was found of one table.
struct Found {
    table: Arc<TableDef>,
    statistics: TableStatistics,
}

/// Carries out an ANALYZE, or that of a VACUUM.
pub async fn analyze(job: &Maintenance, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let all: Vec<Maintained>;
    let tables = if job.all {
        let catalog = context.catalog.clone();
        let role = context.session.role();
        let mine = |table: &&Arc<TableDef>| catalog.has_privileges_of(role, table.owner);
        let others = catalog.tables.values().filter(|table| !mine(table)).map(|table| &table.name);
        warn_of_denied(others, "analyze", context);
        let mine = catalog.tables.values().filter(mine);
        all = mine.map(|table| Maintained { table: table.clone(), columns: Vec::new() }).collect();
        &all
    } else {
        &job.tables
    };
    let mut found = Vec::with_capacity(tables.len());
    for target in tables {
        found.push(look_at(target, job.verbose, context).await?);
    }
    if found.is_empty() {
        return Ok(());
    }
    lock_catalog(context).await?;
    for found in found {
        keep(found, context).await?;
    }
    Ok(())
}

async fn look_at(target: &Maintained, verbose: bool, context: &mut ExecContext<'_>) -> SqlResult<Found> {
    let table = &target.table;
    let sample = context.engine.sample(&context.view, table.storage, SAMPLE_ROWS).await?;
    let mut statistics = TableStatistics {
        rows: Some(sample.live_rows.round()),
        keys: sample.size.keys,
        table_bytes: sample.size.heap_bytes,
        index_bytes: sample.size.index_bytes,
        ..TableStatistics::new(table.oid)
    };
    if table.primary_key.is_none() {
        // The index over hidden keys is how the table itself is stored.
        statistics.table_bytes += std::mem::take(&mut statistics.index_bytes);
    }
    if verbose {
        report(table, &sample, statistics.table_bytes, context);
    }
    let every: Vec<usize> = (0..table.columns.len()).collect();
    let columns = if target.columns.is_empty() { &every } else { &target.columns };
    // As in PostgreSQL, an empty table says nothing about its columns.
    for &column in columns.iter().filter(|_| !sample.rows.is_empty()) {
        statistics.put(look_at_column(table, column, &sample).await);
    }
    Ok(Found { table: table.clone(), statistics })
}

async fn look_at_column(table: &TableDef, column: usize, sample: &TableSample) -> ColumnStatistics {
    let mut values = Vec::with_capacity(sample.rows.len());
    for rows in sample.rows.chunks(STEP) {
        values.extend(rows.iter().map(|row| table.layout().view(row).get(column)));
        if runtime::should_yield() {
            runtime::yield_now().await;
        }
    }
    // Common values and the bounds of the histogram.
    let values_max = table.columns.len() * (2 * TARGET + 1);
    let width_max = (STATISTICS_BYTES_MAX / values_max).min(VALUE_BYTES_MAX);
    let ty = table.columns[column].ty.ty;
    column::compute(values, Sampled { column, ty, total_rows: sample.live_rows.round(), width_max }).await
}

/// What PostgreSQL says under VERBOSE; a page is 8 KiB of memory.
fn report(table: &TableDef, sample: &TableSample, bytes: u64, context: &mut ExecContext<'_>) {
    let schema = context.catalog.schemas.get(&table.schema).map_or("?", |schema| schema.name.as_str());
    let started = format!("analyzing \"{schema}.{}\"", table.name);
    let pages = statistics::pages(bytes);
    let scanned = if sample.looked_up >= sample.size.keys {
        pages
    } else {
        (u128::from(pages) * u128::from(sample.looked_up) / u128::from(sample.size.keys)) as u64
    };
    let done = format!(
        "\"{}\": scanned {scanned} of {pages} pages, containing {} live rows and {} dead rows; {} rows in sample, {:.0} estimated \
         total rows",
        table.name,
        sample.seen,
        sample.looked_up - sample.seen,
        sample.rows.len(),
        sample.live_rows
    );
    context.notices.extend([started, done].map(Notice::info));
}

/// Writes what was found, next to what is known of columns that were not looked at.
async fn keep(found: Found, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let catalog: Arc<Catalog> = newest_catalog(context);
    let Some(now) = catalog.tables.get(&found.table.oid).filter(|now| now.storage == found.table.storage) else { return Ok(()) };
    let known = catalog.statistics.get(&now.oid).map_or_else(Vec::new, |known| known.columns.clone());
    let mut statistics = found.statistics;
    for column in std::mem::replace(&mut statistics.columns, known) {
        statistics.put(column);
    }
    put(Object::Statistics(Box::new(statistics)), context).await
}
