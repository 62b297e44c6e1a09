//! EXPLAIN: plans as PostgreSQL prints them, with estimates of rows but not of costs, by which nothing here is decided; with what
//! was measured, after ANALYZE.
//!
//! `tree` decides what there is to show, `render` writes it as text or JSON.

mod render;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use crate::error::{SqlError, SqlResult};
use crate::exec::context::{ExecContext, RowSink};
use crate::exec::query::QueryStream;
use crate::exec::query::profile::{Measure, Profile};
use crate::exec::{dml, insert};
use crate::runtime;
use crate::sql::estimate::Estimator;
use crate::sql::plan::{Plan, Statement};
use crate::sql::utility::{ExplainFormat, ExplainOptions};
use crate::types::{Datum, RowView};

/// An operator to be shown. Filters and projections belong to the operator they are applied to.
struct Shown {
    /// Its name in JSON.
    node_type: &'static str,
    /// Its first line.
    title: String,
    /// What the title says, as JSON has it.
    facts: Vec<(&'static str, String)>,
    /// The lines under it.
    properties: Vec<(&'static str, String)>,
    /// How many rows are expected of it, and how many bytes each.
    estimate: Estimate,
    /// What was measured, if it was.
    measure: Option<Measure>,
    /// Rows that a condition has left out.
    removed: Option<u64>,
    /// The operators it reads from.
    inputs: Vec<Shown>,
}

/// What is expected of an operator.
#[derive(Clone, Copy, Default)]
struct Estimate {
    rows: f64,
    width: f64,
}

/// What is shown under the operators.
#[derive(Clone, Copy, Default)]
struct Times {
    planning: Option<Duration>,
    execution: Option<Duration>,
}

/// What a run under EXPLAIN ANALYZE came to.
struct Ran {
    profile: Profile,
    /// Rows inserted, updated or deleted.
    changed: u64,
    /// Rows of RETURNING.
    returned: u64,
    execution: Duration,
}

/// Carries out an EXPLAIN.
pub async fn explain(
    statement: &Statement,
    options: ExplainOptions,
    planning: Duration,
    context: &mut ExecContext<'_>,
    sink: &mut dyn RowSink,
) -> SqlResult<()> {
    let ran = if options.analyze { Some(run(statement, context).await?) } else { None };
    let shown = tree::shown(statement, &Estimator::new(&context.catalog, context.session), &context.catalog, ran.as_ref());
    let summary = options.summary.unwrap_or(options.analyze);
    let times =
        Times { planning: summary.then_some(planning), execution: ran.as_ref().filter(|_| summary).map(|ran| ran.execution) };
    let mut line = |line: String| sink.row(&[Datum::Text(Arc::from(line))]);
    match options.format {
        ExplainFormat::Text => render::text(&shown, &options, times).into_iter().try_for_each(line),
        ExplainFormat::Json => line(render::json(&shown, &options, times)),
    }
}

/// Runs a statement for its measures: what it changes is changed, and its rows are counted and thrown away.
async fn run(statement: &Statement, context: &mut ExecContext<'_>) -> SqlResult<Ran> {
    let started = runtime::now();
    context.profile = Some(Box::default());
    let mut sink = Counter(0);
    let done = match &statement.plan {
        Plan::Query(query) => drain(query, context).await,
        Plan::Insert(plan) => insert::insert(plan, context, &mut sink).await.map(|tag| tag.rows()),
        Plan::Update(plan) => dml::update(plan, context, &mut sink).await.map(|tag| tag.rows()),
        Plan::Delete(plan) => dml::delete(plan, context, &mut sink).await.map(|tag| tag.rows()),
        _ => Err(SqlError::internal("the binder lets only queries and changes of rows be analyzed")),
    };
    let profile = context.profile.take().expect("it was set above and nothing takes it");
    Ok(Ran { profile: *profile, changed: done?, returned: sink.0, execution: started.elapsed() })
}

async fn drain(query: &crate::sql::plan::Query, context: &mut ExecContext<'_>) -> SqlResult<u64> {
    let mut stream = QueryStream::open_query(query, context).await?;
    let mut count = 0;
    while let Some(rows) = stream.next(context).await? {
        count += rows.len() as u64;
    }
    Ok(count)
}

/// Counts rows.
struct Counter(u64);

impl RowSink for Counter {
    fn row(&mut self, _row: &[Datum]) -> SqlResult<()> {
        self.0 += 1;
        Ok(())
    }

    fn row_bytes(&mut self, _row: RowView<'_>, _columns: &[usize]) -> SqlResult<()> {
        self.0 += 1;
        Ok(())
    }

    fn copy_line(&mut self, _line: &[u8]) -> SqlResult<()> {
        Err(SqlError::internal("only COPY gives lines"))
    }

    fn is_full(&self) -> bool {
        false
    }
}
