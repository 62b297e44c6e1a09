//! The part of rows that a condition keeps.

use super::Estimator;
use super::value::{DEFAULT_EQUAL, DEFAULT_INEQUALITY, DEFAULT_MATCH, DEFAULT_RANGE, Known};
use crate::sql::context::{EvalContext, NoSubqueries};
use crate::sql::expr::eval::eval;
use crate::sql::expr::{BoolTest, Expr, walk};
use crate::sql::function::{Comparison, Volatility};
use crate::sql::planner::column_of;
use crate::types::Datum;

/// The part of conditions about which nothing at all is known.
const DEFAULT_PART: f64 = 0.5;
/// The part that a function of its arguments keeps.
const DEFAULT_FUNCTION: f64 = 1.0 / 3.0;
/// Elements of an array that is not known yet.
const DEFAULT_ELEMENTS: f64 = 10.0;

/// What is known of the columns that a condition is over.
pub type Columns<'k, 'c> = &'k dyn Fn(usize) -> Option<Known<'c>>;

/// A bound of an access path: its value, inclusive.
type Bound = (Expr, bool);

/// A comparison of a column and something that is not of the row.
struct Compared<'e> {
    column: usize,
    comparison: Comparison,
    value: &'e Expr,
}

/// The ends of a range over one column.
#[derive(Default)]
struct Ends {
    column: usize,
    /// The parts that the lower and the upper end keep; the outer option says that there is such an end, the inner that its
    /// part is known.
    lower: Option<Option<f64>>,
    upper: Option<Option<f64>>,
}

/// A constant's value.
fn constant(expr: &Expr) -> Option<&Datum> {
    match expr {
        Expr::Const(value, _) => Some(value),
        Expr::Cast { arg, .. } => constant(arg),
        _ => None,
    }
}

fn is_of_the_row(expr: &Expr) -> bool {
    let mut columns = Vec::new();
    walk::columns_of(expr, &mut columns);
    !columns.is_empty()
}

fn compared(term: &Expr) -> Option<Compared<'_>> {
    let Expr::Call { function, args, .. } = term else { return None };
    let comparison = function.get().comparison?;
    let [left, right] = &args[..] else { return None };
    match (column_of(left), column_of(right)) {
        (Some(column), None) if !is_of_the_row(right) => Some(Compared { column, comparison, value: right }),
        (None, Some(column)) if !is_of_the_row(left) => Some(Compared { column, comparison: comparison.commuted(), value: left }),
        _ => None,
    }
}

impl<'c> Estimator<'c> {
    /// The part of rows that a condition keeps.
    pub(super) fn part(&self, condition: &Expr, columns: Columns<'_, 'c>) -> f64 {
        match condition {
            Expr::And(_) => {
                let mut terms = Vec::new();
                flatten(condition, &mut terms);
                self.part_of_all(&terms, &[], columns)
            }
            term => self.part_of_one(term, columns).clamp(0.0, 1.0),
        }
    }

    /// The part of a table's rows that an equality prefix of its key, bounds on the next column of it and a filter keep.
    pub(super) fn range_part(
        &self,
        key: &[usize],
        prefix: &[Expr],
        (lower, upper): (Option<&Bound>, Option<&Bound>),
        filter: Option<&Expr>,
        columns: Columns<'_, 'c>,
    ) -> f64 {
        let mut found: Vec<Compared<'_>> = Vec::new();
        let equal = prefix.iter().zip(key);
        found.extend(equal.map(|(value, column)| Compared { column: *column, comparison: Comparison::Eq, value }));
        if let Some(&column) = key.get(prefix.len()) {
            found.extend(lower.map(|(value, inclusive)| Compared {
                column,
                comparison: if *inclusive { Comparison::Ge } else { Comparison::Gt },
                value,
            }));
            found.extend(upper.map(|(value, inclusive)| Compared {
                column,
                comparison: if *inclusive { Comparison::Le } else { Comparison::Lt },
                value,
            }));
        }
        let mut terms = Vec::new();
        filter.into_iter().for_each(|filter| flatten(filter, &mut terms));
        self.part_of_all(&terms, &found, columns)
    }

    /// All of some terms: independent of each other, but that two ends of one range belong together.
    fn part_of_all(&self, terms: &[&Expr], more: &[Compared<'_>], columns: Columns<'_, 'c>) -> f64 {
        let mut part = 1.0;
        let mut ranges: Vec<Ends> = Vec::new();
        let mut add = |compared: &Compared<'_>| -> bool {
            let lower = match compared.comparison {
                Comparison::Gt | Comparison::Ge => true,
                Comparison::Lt | Comparison::Le => false,
                Comparison::Eq | Comparison::Ne => return false,
            };
            let known = columns(compared.column);
            let kept = known.and_then(|known| known.inequality(compared.comparison, constant(compared.value)));
            let at = ranges.iter().position(|ends| ends.column == compared.column).unwrap_or_else(|| {
                ranges.push(Ends { column: compared.column, ..Ends::default() });
                ranges.len() - 1
            });
            let end = if lower { &mut ranges[at].lower } else { &mut ranges[at].upper };
            // Of two ends on the same side the stricter one counts.
            *end = Some(match (*end, kept) {
                (Some(Some(before)), Some(kept)) => Some(before.min(kept)),
                (Some(before), kept) => before.or(kept),
                (None, kept) => kept,
            });
            true
        };
        let mut rest: Vec<&Expr> = Vec::new();
        for term in terms {
            match compared(term) {
                Some(compared) if add(&compared) => {}
                _ => rest.push(term),
            }
        }
        for compared in more {
            if !add(compared) {
                part *= compare(compared, columns);
            }
        }
        for ends in ranges {
            let nulls = columns(ends.column).map_or(0.0, |known| known.null_fraction());
            part *= match (ends.lower, ends.upper) {
                (Some(Some(lower)), Some(Some(upper))) => between(lower, upper, nulls),
                (Some(_), Some(_)) => DEFAULT_RANGE,
                (Some(end), None) | (None, Some(end)) => end.unwrap_or(DEFAULT_INEQUALITY),
                (None, None) => 1.0,
            };
        }
        let rest: f64 = rest.into_iter().map(|term| self.part_of_one(term, columns).clamp(0.0, 1.0)).product();
        (part * rest).clamp(0.0, 1.0)
    }

    fn part_of_one(&self, term: &Expr, columns: Columns<'_, 'c>) -> f64 {
        match term {
            Expr::Const(Datum::Bool(true), _) => 1.0,
            Expr::Const(..) => 0.0,
            Expr::And(_) => self.part(term, columns),
            Expr::Or(terms) => {
                let parts = terms.iter().map(|term| self.part(term, columns));
                parts.fold(0.0, |kept, part| kept + part - kept * part)
            }
            Expr::Not(term) => 1.0 - self.part(term, columns),
            Expr::IsNull(arg, negated) => {
                let nulls = match column_of(arg).and_then(columns) {
                    Some(known) if known.statistics.is_some() || known.unique => known.null_fraction(),
                    _ => DEFAULT_EQUAL,
                };
                if *negated { 1.0 - nulls } else { nulls }
            }
            Expr::Column(index, _) => columns(*index).map_or(DEFAULT_PART, |known| known.equal(Some(&Datum::Bool(true)))),
            Expr::BoolTest(arg, test) => self.bool_test(arg, *test, columns),
            Expr::InList(arg, list, negated) => {
                let known = column_of(arg).and_then(columns);
                let equal = |value: &Expr| known.map_or(DEFAULT_EQUAL, |known| known.equal(constant(value)));
                let found = list.iter().map(equal).sum::<f64>().min(1.0);
                let nulls = known.map_or(0.0, |known| known.null_fraction());
                if *negated { (1.0 - found - nulls).max(0.0) } else { found }
            }
            Expr::AnyAll { arg, function, array, all: false } if function.get().comparison == Some(Comparison::Eq) => {
                let known = column_of(arg).and_then(columns);
                let equal = |value: Option<&Datum>| known.map_or(DEFAULT_EQUAL, |known| known.equal(value));
                match constant(array) {
                    Some(Datum::Array(items)) => items.iter().map(|item| equal(Some(item))).sum::<f64>().min(1.0),
                    _ => (equal(None) * DEFAULT_ELEMENTS).min(1.0),
                }
            }
            Expr::Call { .. } => match compared(term) {
                Some(compared) => compare(&compared, columns),
                None => self.call(term, columns),
            },
            _ => DEFAULT_PART,
        }
    }

    fn bool_test(&self, arg: &Expr, test: BoolTest, columns: Columns<'_, 'c>) -> f64 {
        let nulls = column_of(arg).and_then(columns).map_or(DEFAULT_EQUAL, |known| known.null_fraction());
        let holds = self.part(arg, columns);
        match test {
            BoolTest::IsTrue => holds,
            BoolTest::IsNotTrue => 1.0 - holds,
            BoolTest::IsFalse => (1.0 - holds - nulls).max(0.0),
            BoolTest::IsNotFalse => (holds + nulls).min(1.0),
            BoolTest::IsUnknown => nulls,
            BoolTest::IsNotUnknown => 1.0 - nulls,
        }
    }

    /// An operator or function that compares nothing, or things that are not a column and a value.
    fn call(&self, term: &Expr, columns: Columns<'_, 'c>) -> f64 {
        let Expr::Call { function, .. } = term else { return DEFAULT_PART };
        let entry = function.get();
        match entry.comparison {
            Some(Comparison::Eq) => return DEFAULT_EQUAL,
            Some(Comparison::Ne) => return 1.0 - DEFAULT_EQUAL,
            Some(_) => return DEFAULT_INEQUALITY,
            None => {}
        }
        let found = self.by_trial(term, columns);
        found.unwrap_or(if entry.operator { DEFAULT_MATCH } else { DEFAULT_FUNCTION })
    }

    /// Of a term over one column and constants: what it says of the column's common values and histogram bounds, as PostgreSQL
    /// does for LIKE and regular expressions.
    fn by_trial(&self, term: &Expr, columns: Columns<'_, 'c>) -> Option<f64> {
        let mut used = Vec::new();
        walk::columns_of(term, &mut used);
        let (&column, others) = used.split_first()?;
        if others.iter().any(|other| *other != column) || !can_be_tried(term) {
            return None;
        }
        let context =
            EvalContext { params: &[], outer: None, session: self.session, catalog: self.catalog, subqueries: &NoSubqueries };
        columns(column)?.passing(|value| {
            let mut row = vec![Datum::Null; column + 1];
            row[column] = value.clone();
            matches!(eval(term, row.as_slice(), &context), Ok(Datum::Bool(true)))
        })
    }
}

/// Whether evaluating an expression ahead of time needs nothing but its columns.
fn can_be_tried(expr: &Expr) -> bool {
    let own = match expr {
        Expr::Param(..) | Expr::Outer { .. } | Expr::Subquery(_) => false,
        Expr::Call { function, .. } => function.get().volatility == Volatility::Immutable,
        _ => true,
    };
    let mut all = own;
    walk::for_each_child(expr, &mut |child| all = all && can_be_tried(child));
    all
}

fn flatten<'e>(condition: &'e Expr, terms: &mut Vec<&'e Expr>) {
    match condition {
        Expr::And(inner) => inner.iter().for_each(|term| flatten(term, terms)),
        term => terms.push(term),
    }
}

/// A comparison on its own.
fn compare(compared: &Compared<'_>, columns: Columns<'_, '_>) -> f64 {
    let known = columns(compared.column);
    let value = constant(compared.value);
    match compared.comparison {
        Comparison::Eq => known.map_or(DEFAULT_EQUAL, |known| known.equal(value)),
        Comparison::Ne => known.map_or(1.0 - DEFAULT_EQUAL, |known| (1.0 - known.equal(value) - known.null_fraction()).max(0.0)),
        inequality => known.and_then(|known| known.inequality(inequality, value)).unwrap_or(DEFAULT_INEQUALITY),
    }
}

/// The part between two ends that each keep a part (`addRangeClause` of clausesel.c).
fn between(lower: f64, upper: f64, nulls: f64) -> f64 {
    let kept = lower + upper - 1.0 + nulls;
    match kept {
        kept if kept > 0.0 => kept,
        // An end that is a rough guess can leave less than nothing.
        kept if kept < -0.01 => DEFAULT_RANGE,
        _ => 1e-10,
    }
}
