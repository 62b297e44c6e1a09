//! What operators of one statement share: the rows outside them, results of subqueries, and the account of memory.
//!
//! Expressions are evaluated synchronously, and running a subquery is not. So the subqueries of an expression are run before
//! it: uncorrelated ones once a statement, when a row first needs them, correlated ones for each row.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{ExecContext, Row};
use crate::exec::query::{Op, open};
use crate::exec::waiting::Answers;
use crate::runtime;
use crate::sql::expr::eval::{NoRow, eval, eval_bool};
use crate::sql::expr::in_set::InSet;
use crate::sql::expr::{Expr, Subquery, SubqueryKind, walk};
use crate::sql::function::{FunctionRef, Waiting};
use crate::sql::{EvalContext, NoSubqueries, OuterRow, SubqueryResults, SubqueryValue};
use crate::types::Datum;

/// Rows of enclosing queries, innermost first, owned.
pub type Outer = Option<Arc<OuterLink>>;

/// One of them.
#[derive(Debug)]
pub struct OuterLink {
    row: Row,
    parent: Outer,
}

/// Calls `then` with the rows in the form that evaluation wants.
pub fn with_outer<T>(outer: &Outer, then: impl FnOnce(Option<&OuterRow<'_>>) -> T) -> T {
    fn chain(link: Option<&OuterLink>, then: &mut dyn FnMut(Option<&OuterRow<'_>>)) {
        match link {
            None => then(None),
            Some(link) => {
                chain(link.parent.as_deref(), &mut |parent| then(Some(&OuterRow { row: &link.row, parent })));
            }
        }
    }
    let mut then = Some(then);
    let mut result = None;
    chain(outer.as_deref(), &mut |rows| result = then.take().map(|then| then(rows)));
    result.expect("a chain is followed to its end once")
}

/// Results of subqueries, found by the identity of the `Arc`, which they keep alive; and of functions that wait, where those can be
/// waited for.
#[derive(Clone, Default)]
pub struct Results(Vec<(Arc<Subquery>, SubqueryValue)>, Option<Answers>);

impl SubqueryResults for Results {
    fn result(&self, subquery: &Arc<Subquery>) -> Option<SubqueryValue> {
        self.0.iter().find(|(known, _)| Arc::ptr_eq(known, subquery)).map(|(_, value)| value.clone())
    }

    fn noted(&self) -> Option<Datum> {
        self.1.as_ref()?.known()
    }

    fn note(&self, answer: &Datum) {
        if let Some(answers) = &self.1 {
            answers.note(answer.clone());
        }
    }

    fn waited(&self, function: FunctionRef, waiting: Waiting, args: &[Datum]) -> SqlResult<Datum> {
        match &self.1 {
            Some(answers) => answers.next(waiting, args),
            None => NoSubqueries.waited(function, waiting, args),
        }
    }
}

/// The memory of one statement.
#[derive(Default)]
struct Account(AtomicUsize);

/// Bytes that an operator holds; given back when it is dropped.
pub struct Reservation {
    account: Arc<Account>,
    bytes: usize,
}

impl Reservation {
    /// Counts more bytes; 53200 beyond the statement's limit.
    pub fn add(&mut self, bytes: usize, context: &ExecContext<'_>) -> SqlResult<()> {
        let before = self.account.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > context.memory_max {
            let detail = format!("The statement would hold more than {} bytes of rows in memory.", context.memory_max);
            return Err(SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory").detail(detail));
        }
        Ok(())
    }

    /// Gives everything back.
    pub fn clear(&mut self) {
        self.account.0.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Approximate bytes of a row.
pub fn row_bytes(row: &[Datum]) -> usize {
    size_of::<Row>() + row.iter().map(|value| size_of::<Datum>() + value.heap_bytes()).sum::<usize>()
}

/// What operators share.
#[derive(Clone, Default)]
pub struct Scope {
    outer: Outer,
    /// Results of uncorrelated subqueries. Never locked across an await.
    cache: Arc<Mutex<Results>>,
    account: Arc<Account>,
}

impl Scope {
    /// The scope of a plan whose next row out is `row`.
    pub fn inside(&self, row: Row) -> Scope {
        Scope { outer: Some(Arc::new(OuterLink { row, parent: self.outer.clone() })), ..self.clone() }
    }

    /// The rows outside.
    pub fn outer(&self) -> &Outer {
        &self.outer
    }

    /// An account for an operator.
    pub fn reserve(&self) -> Reservation {
        Reservation { account: self.account.clone(), bytes: 0 }
    }

    fn cached(&self, subquery: &Arc<Subquery>) -> Option<SubqueryValue> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).result(subquery)
    }

    /// The value of an uncorrelated subquery, found now or before.
    async fn value_once(&self, subquery: &Arc<Subquery>, context: &mut ExecContext<'_>) -> SqlResult<SubqueryValue> {
        if let Some(value) = self.cached(subquery) {
            return Ok(value);
        }
        let value = run_subquery(subquery, self.clone(), context).await?;
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).0.push((subquery.clone(), value.clone()));
        Ok(value)
    }
}

/// Expressions over one kind of row, with the subqueries in them.
#[derive(Clone)]
pub struct Exprs {
    list: Vec<Expr>,
    once: Vec<Arc<Subquery>>,
    each_row: Vec<Arc<Subquery>>,
    waits: bool,
}

impl Exprs {
    /// Of these expressions.
    pub fn new(list: Vec<Expr>) -> Self {
        let mut found = Vec::new();
        list.iter().for_each(|expr| walk::subqueries(expr, &mut found));
        let (mut once, mut each_row) = (Vec::new(), Vec::new());
        for subquery in found {
            if subquery.correlated { each_row.push(subquery.clone()) } else { once.push(subquery.clone()) }
        }
        let waits = list.iter().any(walk::waits);
        Self { list, once, each_row, waits }
    }

    /// The expressions.
    pub fn list(&self) -> &[Expr] {
        &self.list
    }

    /// Whether a subquery must be run for each row.
    pub fn is_correlated(&self) -> bool {
        !self.each_row.is_empty()
    }

    /// Whether functions that wait are called: they are called for one row after the other, and only for those that are wanted.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// The results of the uncorrelated subqueries.
    pub async fn results(&self, scope: &Scope, context: &mut ExecContext<'_>) -> SqlResult<Results> {
        let mut results = Results::default();
        for subquery in &self.once {
            results.0.push((subquery.clone(), scope.value_once(subquery, context).await?));
        }
        Ok(results)
    }

    /// Calls `visit` for each row with what the expressions are evaluated with.
    pub async fn for_each(
        &self,
        rows: &[Row],
        scope: &Scope,
        context: &mut ExecContext<'_>,
        visit: &mut dyn FnMut(usize, &Row, &EvalContext<'_>) -> SqlResult<()>,
    ) -> SqlResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut results = self.results(scope, context).await?;
        if !self.is_correlated() {
            return with_outer(&scope.outer, |outer| {
                let eval_context = context.eval(outer, &results);
                rows.iter().enumerate().try_for_each(|(i, row)| visit(i, row, &eval_context))
            });
        }
        let shared = results.0.len();
        for (i, row) in rows.iter().enumerate() {
            results.0.truncate(shared);
            let inside = scope.inside(row.clone());
            for subquery in &self.each_row {
                let value = run_subquery(subquery, inside.clone(), context).await?;
                results.0.push((subquery.clone(), value));
            }
            with_outer(&scope.outer, |outer| visit(i, row, &context.eval(outer, &results)))?;
            if runtime::should_yield() {
                runtime::yield_now().await;
            }
        }
        Ok(())
    }

    /// Evaluates over one row at a time, and again after each function that had to be waited for. What `evaluate` does is undone by not
    /// using its answer: it may be called several times for a row.
    async fn wait_each<T>(
        &self,
        rows: &[Row],
        scope: &Scope,
        context: &mut ExecContext<'_>,
        evaluate: impl Fn(&Row, &EvalContext<'_>) -> SqlResult<T>,
    ) -> SqlResult<Vec<T>> {
        let mut results = self.results(scope, context).await?;
        let answers = Answers::default();
        results.1 = Some(answers.clone());
        let shared = results.0.len();
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            answers.forget();
            results.0.truncate(shared);
            let inside = scope.inside(row.clone());
            for subquery in &self.each_row {
                let value = run_subquery(subquery, inside.clone(), context).await?;
                results.0.push((subquery.clone(), value));
            }
            found.push(loop {
                match with_outer(&scope.outer, |outer| evaluate(row, &context.eval(outer, &results))) {
                    Ok(value) => break value,
                    Err(_) if answers.find(context).await? => {}
                    Err(error) => return Err(error),
                }
            });
        }
        Ok(found)
    }

    /// The values of the expressions for each row.
    pub async fn rows(&self, rows: &[Row], scope: &Scope, context: &mut ExecContext<'_>) -> SqlResult<Vec<Row>> {
        if self.waits {
            let evaluate = |row: &Row, context: &EvalContext<'_>| self.list.iter().map(|expr| eval(expr, row, context)).collect();
            return self.wait_each(rows, scope, context, evaluate).await;
        }
        let mut values = Vec::with_capacity(rows.len());
        self.for_each(rows, scope, context, &mut |_, row, eval_context| {
            values.push(self.list.iter().map(|expr| eval(expr, row, eval_context)).collect::<SqlResult<Row>>()?);
            Ok(())
        })
        .await?;
        Ok(values)
    }

    /// For each row, whether all expressions are true.
    pub async fn matches(&self, rows: &[Row], scope: &Scope, context: &mut ExecContext<'_>) -> SqlResult<Vec<bool>> {
        if self.waits {
            let evaluate = |row: &Row, context: &EvalContext<'_>| {
                self.list.iter().try_fold(true, |all, expr| Ok(all && eval_bool(expr, row, context)?))
            };
            return self.wait_each(rows, scope, context, evaluate).await;
        }
        let mut matches = Vec::with_capacity(rows.len());
        self.for_each(rows, scope, context, &mut |_, row, eval_context| {
            let mut all = true;
            for expr in &self.list {
                all = all && eval_bool(expr, row, eval_context)?;
            }
            matches.push(all);
            Ok(())
        })
        .await?;
        Ok(matches)
    }

    /// The rows for which all expressions are true.
    pub async fn keep(&self, rows: Vec<Row>, scope: &Scope, context: &mut ExecContext<'_>) -> SqlResult<Vec<Row>> {
        let matches = self.matches(&rows, scope, context).await?;
        Ok(rows.into_iter().zip(matches).filter(|(_, keep)| *keep).map(|(row, _)| row).collect())
    }

    /// The values of expressions that refer to no row of their own.
    pub async fn values(&self, scope: &Scope, context: &mut ExecContext<'_>) -> SqlResult<Row> {
        if self.is_correlated() || self.waits {
            // Correlated with rows further out than the (empty) row they stand over.
            let rows = self.rows(&[Row::new()], scope, context).await?;
            return Ok(rows.into_iter().next().expect("one row was given"));
        }
        let results = self.results(scope, context).await?;
        with_outer(&scope.outer, |outer| {
            let eval_context = context.eval(outer, &results);
            self.list.iter().map(|expr| eval(expr, &NoRow, &eval_context)).collect()
        })
    }
}

/// Runs a subquery in its scope.
async fn run_subquery(subquery: &Subquery, scope: Scope, context: &mut ExecContext<'_>) -> SqlResult<SubqueryValue> {
    let mut reservation = scope.reserve();
    let mut plan = open(&subquery.plan, scope, context).await?;
    match &subquery.kind {
        SubqueryKind::Exists => Ok(SubqueryValue::Exists(next_rows(&mut plan, context).await?.is_some())),
        SubqueryKind::Scalar => {
            let mut value = None;
            while let Some(rows) = next_rows(&mut plan, context).await? {
                for mut row in rows {
                    if value.replace(row.swap_remove(0)).is_some() {
                        let message = "more than one row returned by a subquery used as an expression";
                        return Err(SqlError::new(SqlState::CARDINALITY_VIOLATION, message));
                    }
                }
            }
            Ok(SubqueryValue::Scalar(value.unwrap_or(Datum::Null)))
        }
        SubqueryKind::In(_) | SubqueryKind::Array => {
            let mut values = Vec::new();
            while let Some(rows) = next_rows(&mut plan, context).await? {
                for mut row in rows {
                    reservation.add(size_of::<Datum>() + row[0].heap_bytes(), context)?;
                    values.push(row.swap_remove(0));
                }
            }
            Ok(match subquery.kind {
                SubqueryKind::Array => SubqueryValue::Scalar(Datum::Array(values.into())),
                _ => SubqueryValue::In(Arc::new(InSet::new(values))),
            })
        }
    }
}

/// The next batch that is not empty.
pub async fn next_rows(op: &mut Op, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
    loop {
        match op.next(context).await? {
            Some(rows) if rows.is_empty() => {}
            other => return Ok(other),
        }
    }
}
