//! Joins: hashed on equal expressions or nested loops, one side held in memory; lateral ones open it again for each row.
//!
//! The side that is read row by row is the outer one, that which is held the inner one: right and left of the plan's join, or the
//! other way round where the plan says so. Rows have the left side's columns first all the same.
//!
//! Output is made a piece at a time, so a join whose result is far larger than its inputs still runs in bounded memory.

use crate::error::SqlResult;
use crate::exec::context::{ExecContext, Row};
use crate::exec::query::scan::look_up;
use crate::exec::query::scope::{Exprs, Reservation, Scope, next_rows, row_bytes};
use crate::exec::query::table::RowTable;
use crate::exec::query::{BATCH, Op, open, types_of};
use crate::runtime;
use crate::sql::expr::eval::type_of;
use crate::sql::plan::{self, JoinKind, Node};
use crate::types::Datum;

fn joined(left: &[Datum], right: &[Datum]) -> Row {
    left.iter().chain(right).cloned().collect()
}

fn nulls(count: usize) -> Row {
    vec![Datum::Null; count]
}

/// The hashed side of a join.
struct Hashed {
    outer: Exprs,
    keys: RowTable,
    /// For each key the rows that have it.
    rows: Vec<Vec<u32>>,
}

/// A join whose sides do not depend on each other.
pub struct Join {
    /// Which rows are kept without a match: Left those of the outer side, Right those of the inner.
    kind: JoinKind,
    /// The outer side is the plan's right.
    turned: bool,
    outer: Op,
    /// The inner input and its keys until it has been read.
    pending: Option<(Op, Option<Exprs>)>,
    hashed: Option<Hashed>,
    inner: Vec<Row>,
    /// Whether a inner row has found a outer one, for RIGHT and FULL.
    inner_matched: Vec<bool>,
    condition: Option<Exprs>,
    widths: (usize, usize),
    batch: std::vec::IntoIter<(Row, Option<Row>)>,
    current: Option<Current>,
    /// The next inner row to be looked at for NULLs on the outer, after the outer side has ended.
    unmatched: Option<usize>,
    scope: Scope,
    reservation: Reservation,
}

/// A outer row on its way along the inner side.
struct Current {
    row: Row,
    candidates: Candidates,
    next: usize,
    matched: bool,
}

enum Candidates {
    All,
    None,
    Key(usize),
}

impl Join {
    /// Opens a join.
    pub async fn open(plan: &plan::Join, scope: Scope, context: &mut ExecContext<'_>) -> SqlResult<Join> {
        let mut outer = open(&plan.left, scope.clone(), context).await?;
        let mut inner = open(&plan.right, scope.clone(), context).await?;
        let (mut outer_keys, mut inner_keys): (Vec<_>, Vec<_>) = plan.equal.iter().cloned().unzip();
        let mut widths = (types_of(&plan.left).len(), types_of(&plan.right).len());
        if plan.hash_left {
            std::mem::swap(&mut outer, &mut inner);
            std::mem::swap(&mut outer_keys, &mut inner_keys);
            widths = (widths.1, widths.0);
        }
        let hashed = (!plan.equal.is_empty()).then(|| Hashed {
            keys: RowTable::new(outer_keys.iter().map(type_of).collect()),
            outer: Exprs::new(outer_keys),
            rows: Vec::new(),
        });
        let inner_keys = hashed.is_some().then(|| Exprs::new(inner_keys));
        Ok(Join {
            kind: if plan.hash_left { plan.kind.turned() } else { plan.kind },
            turned: plan.hash_left,
            outer,
            pending: Some((inner, inner_keys)),
            hashed,
            inner: Vec::new(),
            inner_matched: Vec::new(),
            condition: plan.condition.clone().map(|condition| Exprs::new(vec![condition])),
            widths,
            batch: Vec::new().into_iter(),
            current: None,
            unmatched: None,
            reservation: scope.reserve(),
            scope,
        })
    }

    /// An outer and an inner row as one of the result.
    fn joined(&self, outer: &[Datum], inner: &[Datum]) -> Row {
        if self.turned { joined(inner, outer) } else { joined(outer, inner) }
    }

    fn keeps_outer(&self) -> bool {
        matches!(self.kind, JoinKind::Left | JoinKind::Full)
    }

    fn keeps_inner(&self) -> bool {
        matches!(self.kind, JoinKind::Right | JoinKind::Full)
    }

    /// The next rows.
    pub async fn next(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        if let Some((inner, keys)) = self.pending.take() {
            self.read_inner(inner, keys.as_ref(), context).await?;
        }
        let mut out = Vec::new();
        let mut looked = 0_usize;
        while out.len() < BATCH {
            looked += 1;
            if looked.is_multiple_of(64) && runtime::should_yield() {
                runtime::yield_now().await;
            }
            if self.unmatched.is_some() {
                if !self.take_unmatched(&mut out) {
                    break;
                }
            } else if self.current.is_some() {
                self.advance(&mut out, context).await?;
            } else if !self.next_outer(context).await? {
                // Without it nothing is outer to be done for the inner side.
                self.unmatched = Some(if self.keeps_inner() { 0 } else { self.inner.len() });
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }

    async fn read_inner(&mut self, mut inner: Op, keys: Option<&Exprs>, context: &mut ExecContext<'_>) -> SqlResult<()> {
        while let Some(rows) = inner.next(context).await? {
            if let (Some(hashed), Some(keys)) = (&mut self.hashed, keys) {
                let keys = keys.rows(&rows, &self.scope, context).await?;
                for (i, key) in keys.into_iter().enumerate() {
                    // NULL equals nothing.
                    if key.iter().any(Datum::is_null) {
                        continue;
                    }
                    self.reservation.add(row_bytes(&key) + size_of::<u32>(), context)?;
                    let (place, new) = hashed.keys.insert(key);
                    if new {
                        hashed.rows.push(Vec::new());
                    }
                    let index = u32::try_from(self.inner.len() + i).expect("memory is limited far below 2^32 rows");
                    hashed.rows[place].push(index);
                }
            }
            for row in rows {
                self.reservation.add(row_bytes(&row), context)?;
                self.inner.push(row);
            }
        }
        self.inner_matched = vec![false; if self.keeps_inner() { self.inner.len() } else { 0 }];
        Ok(())
    }

    /// Takes up the next outer row, if there is one.
    async fn next_outer(&mut self, context: &mut ExecContext<'_>) -> SqlResult<bool> {
        loop {
            if let Some((row, key)) = self.batch.next() {
                let candidates = match (&self.hashed, key) {
                    (None, _) => Candidates::All,
                    (Some(_), Some(key)) if key.iter().any(Datum::is_null) => Candidates::None,
                    (Some(hashed), Some(key)) => hashed.keys.find(&key).map_or(Candidates::None, Candidates::Key),
                    (Some(_), None) => unreachable!("keys are evaluated with the batch"),
                };
                self.current = Some(Current { row, candidates, next: 0, matched: false });
                return Ok(true);
            }
            let Some(rows) = next_rows(&mut self.outer, context).await? else { return Ok(false) };
            self.batch = match &self.hashed {
                None => rows.into_iter().map(|row| (row, None)).collect::<Vec<_>>(),
                Some(hashed) => {
                    let keys = hashed.outer.rows(&rows, &self.scope, context).await?;
                    rows.into_iter().zip(keys.into_iter().map(Some)).collect()
                }
            }
            .into_iter();
        }
    }

    /// Joins the current outer row with its next candidates.
    async fn advance(&mut self, out: &mut Vec<Row>, context: &mut ExecContext<'_>) -> SqlResult<()> {
        let mut current = self.current.take().expect("called with a outer row");
        let count = match current.candidates {
            Candidates::All => self.inner.len(),
            Candidates::None => 0,
            Candidates::Key(place) => self.hashed.as_ref().expect("a key comes of a table").rows[place].len(),
        };
        let end = count.min(current.next + BATCH);
        let index = |i: usize| match (&current.candidates, &self.hashed) {
            (Candidates::Key(place), Some(hashed)) => hashed.rows[*place][i] as usize,
            _ => i,
        };
        let indexes: Vec<usize> = (current.next..end).map(index).collect();
        let rows: Vec<Row> = indexes.iter().map(|i| self.joined(&current.row, &self.inner[*i])).collect();
        let matches = match &self.condition {
            None => vec![true; rows.len()],
            Some(condition) => condition.matches(&rows, &self.scope, context).await?,
        };
        for ((i, row), matched) in indexes.into_iter().zip(rows).zip(matches) {
            if matched {
                current.matched = true;
                if let Some(found) = self.inner_matched.get_mut(i) {
                    *found = true;
                }
                out.push(row);
            }
        }
        current.next = end;
        if end < count {
            self.current = Some(current);
        } else if !current.matched && self.keeps_outer() {
            out.push(self.joined(&current.row, &nulls(self.widths.1)));
        }
        Ok(())
    }

    /// Adds the next inner row that found no outer one; false at the end.
    fn take_unmatched(&mut self, out: &mut Vec<Row>) -> bool {
        let next = self.unmatched.expect("called after the outer side has ended");
        let Some(row) = self.inner.get(next) else { return false };
        if !self.inner_matched[next] {
            out.push(self.joined(&nulls(self.widths.0), row));
        }
        self.unmatched = Some(next + 1);
        true
    }
}

/// A join whose right side is opened again for each left row.
pub struct Lateral {
    kind: JoinKind,
    left: Op,
    /// In a box, for a place that it keeps (see `profile`).
    right_plan: Box<Node>,
    condition: Option<Exprs>,
    right_width: usize,
    /// Left rows, with the right side where it was looked up for many together.
    batch: std::vec::IntoIter<(Row, Option<Op>)>,
    current: Option<(Row, Op, bool)>,
    scope: Scope,
}

impl Lateral {
    /// Opens a lateral join.
    pub async fn open(plan: &plan::Join, scope: Scope, context: &mut ExecContext<'_>) -> SqlResult<Lateral> {
        if matches!(plan.kind, JoinKind::Right | JoinKind::Full) {
            return Err(crate::error::SqlError::internal("a RIGHT or FULL JOIN cannot be lateral"));
        }
        let right_plan = Box::new(plan.right.clone());
        if let Some(profile) = &mut context.profile {
            profile.copied(&plan.right, &right_plan);
        }
        Ok(Lateral {
            kind: plan.kind,
            left: open(&plan.left, scope.clone(), context).await?,
            right_plan,
            condition: plan.condition.clone().map(|condition| Exprs::new(vec![condition])),
            right_width: types_of(&plan.right).len(),
            batch: Vec::new().into_iter(),
            current: None,
            scope,
        })
    }

    /// Left rows with their right sides, if those are found by key.
    async fn look_up(&self, rows: Vec<Row>, context: &mut ExecContext<'_>) -> SqlResult<Vec<(Row, Option<Op>)>> {
        let started = runtime::now();
        let (scan, exprs) = match &*self.right_plan {
            Node::Scan(scan) => (Some(scan), None),
            Node::Project { input, exprs } => match &**input {
                Node::Scan(scan) => (Some(scan), Some(Exprs::new(exprs.clone()))),
                _ => (None, None),
            },
            _ => (None, None),
        };
        let found = match scan {
            Some(scan) => look_up(scan, &rows, &self.scope, context).await?,
            None => None,
        };
        let Some(found) = found else { return Ok(rows.into_iter().map(|row| (row, None)).collect()) };
        if let Some(profile) = &mut context.profile {
            profile.looked_up(&self.right_plan, rows.len(), found.iter().map(Vec::len).sum(), started.elapsed());
        }
        let with_right = |(row, found): (Row, Vec<Row>)| {
            let right = Op::Rows(found.into_iter());
            let right = match &exprs {
                None => right,
                Some(exprs) => Op::Project(Box::new(right), exprs.clone(), self.scope.inside(row.clone())),
            };
            (row, Some(right))
        };
        Ok(rows.into_iter().zip(found).map(with_right).collect())
    }

    /// The next rows.
    pub async fn next(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        let mut out = Vec::new();
        while out.len() < BATCH {
            if runtime::should_yield() {
                runtime::yield_now().await;
            }
            let Some((row, mut right, matched)) = self.current.take() else {
                match self.batch.next() {
                    Some((row, found)) => {
                        let right = match found {
                            Some(right) => right,
                            None => open(&self.right_plan, self.scope.inside(row.clone()), context).await?,
                        };
                        self.current = Some((row, right, false));
                    }
                    None => match next_rows(&mut self.left, context).await? {
                        Some(rows) => self.batch = self.look_up(rows, context).await?.into_iter(),
                        None => break,
                    },
                }
                continue;
            };
            match next_rows(&mut right, context).await? {
                Some(rows) => {
                    let mut rows: Vec<Row> = rows.iter().map(|other| joined(&row, other)).collect();
                    if let Some(condition) = &self.condition {
                        rows = condition.keep(rows, &self.scope, context).await?;
                    }
                    let matched = matched || !rows.is_empty();
                    out.append(&mut rows);
                    self.current = Some((row, right, matched));
                }
                None if !matched && self.kind == JoinKind::Left => out.push(joined(&row, &nulls(self.right_width))),
                None => {}
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }
}
