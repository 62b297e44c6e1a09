//! Aggregates: their signatures, and the state each keeps while rows go by.
//!
//! DISTINCT, FILTER and ORDER BY of a call are the executor's business; a state is fed the rows that remain, in order.

use std::sync::LazyLock;

use num_bigint::BigInt;
use num_traits::Signed;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::function::kinds::*;
use crate::sql::function::resolve::{self, Failure, Signature};
use crate::sql::function::{AggregateRef, Kind};
use crate::types::{BinaryOp, Datum, Numeric, SessionFormat};

/// How an aggregate is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    CountRows,
    Count,
    SumInteger,
    /// Of bigint: the sum is numeric.
    SumBigint,
    AverageInteger,
    /// By the type's own `+`.
    Sum,
    AverageNumeric,
    AverageInterval,
    AverageFloat,
    Min,
    Max,
    And,
    Or,
    Join,
    Collect,
    /// Variance or, with the first flag, its root; of a sample or, with the second, of the population.
    VarianceNumeric(bool, bool),
    VarianceFloat(bool, bool),
}

/// An aggregate.
pub struct AggregateFunction {
    /// Name.
    pub name: &'static str,
    args: &'static [Kind],
    result: Kind,
    method: Method,
}

static TABLE: LazyLock<Vec<AggregateFunction>> = LazyLock::new(build);

fn build() -> Vec<AggregateFunction> {
    let mut table = Vec::new();
    let mut add = |name, args, result, method| table.push(AggregateFunction { name, args, result, method });
    add("count", &[] as &[Kind], INT8, Method::CountRows);
    add("count", &[ANY], INT8, Method::Count);
    add("sum", &[INT2], INT8, Method::SumInteger);
    add("sum", &[INT4], INT8, Method::SumInteger);
    add("sum", &[INT8], NUMERIC, Method::SumBigint);
    add("sum", &[FLOAT4], FLOAT4, Method::Sum);
    add("sum", &[FLOAT8], FLOAT8, Method::Sum);
    add("sum", &[NUMERIC], NUMERIC, Method::Sum);
    add("sum", &[INTERVAL], INTERVAL, Method::Sum);
    add("avg", &[INT2], NUMERIC, Method::AverageInteger);
    add("avg", &[INT4], NUMERIC, Method::AverageInteger);
    add("avg", &[INT8], NUMERIC, Method::AverageInteger);
    add("avg", &[NUMERIC], NUMERIC, Method::AverageNumeric);
    add("avg", &[FLOAT4], FLOAT8, Method::AverageFloat);
    add("avg", &[FLOAT8], FLOAT8, Method::AverageFloat);
    add("avg", &[INTERVAL], INTERVAL, Method::AverageInterval);
    const ORDERED: [&[Kind]; 13] = [
        &[INT2],
        &[INT4],
        &[INT8],
        &[FLOAT4],
        &[FLOAT8],
        &[NUMERIC],
        &[TEXT],
        &[BPCHAR],
        &[DATE],
        &[TIMESTAMP],
        &[TIMESTAMPTZ],
        &[INTERVAL],
        &[OID],
    ];
    for args in ORDERED {
        add("min", args, args[0], Method::Min);
        add("max", args, args[0], Method::Max);
    }
    add("bool_and", &[BOOL], BOOL, Method::And);
    add("every", &[BOOL], BOOL, Method::And);
    add("bool_or", &[BOOL], BOOL, Method::Or);
    add("string_agg", &[TEXT, TEXT], TEXT, Method::Join);
    add("string_agg", &[BYTEA, BYTEA], BYTEA, Method::Join);
    add("array_agg", &[ELEMENT], ARRAY, Method::Collect);
    for (name, root, population) in [
        ("stddev", true, false),
        ("stddev_samp", true, false),
        ("stddev_pop", true, true),
        ("variance", false, false),
        ("var_samp", false, false),
        ("var_pop", false, true),
    ] {
        for args in [&[INT2] as &[Kind], &[INT4], &[INT8], &[NUMERIC]] {
            add(name, args, NUMERIC, Method::VarianceNumeric(root, population));
        }
        for args in [&[FLOAT4] as &[Kind], &[FLOAT8]] {
            add(name, args, FLOAT8, Method::VarianceFloat(root, population));
        }
    }
    table
}

/// Whether a name is an aggregate's.
pub fn is_aggregate(name: &str) -> bool {
    TABLE.iter().any(|entry| entry.name == name)
}

/// Resolves a call; `star` is `name(*)`.
pub fn resolve(name: &str, args: &[crate::types::SqlType], star: bool) -> Result<(AggregateRef, Signature), Failure> {
    let mut matches: Vec<(AggregateRef, Signature)> = Vec::new();
    for (index, entry) in TABLE.iter().enumerate() {
        if entry.name != name || (entry.method == Method::CountRows) != star {
            continue;
        }
        let Some(signature) = resolve::instantiate(entry.args, false, entry.result, args) else { continue };
        let fits = signature
            .args
            .iter()
            .zip(args)
            .all(|(&to, &from)| super::coercion::can_coerce(from, to, crate::types::CastContext::Implicit));
        if fits {
            matches.push((AggregateRef(u16::try_from(index).expect("the table is small")), signature));
        }
    }
    if let Some(exact) = matches.iter().find(|(_, signature)| signature.declared == args) {
        return Ok(exact.clone());
    }
    let signatures: Vec<_> = matches.iter().map(|(_, signature)| signature.declared.clone()).collect();
    resolve::select(&signatures, args).map(|index| matches[index].clone())
}

impl AggregateRef {
    /// The entry.
    pub fn get(self) -> &'static AggregateFunction {
        &TABLE[usize::from(self.0)]
    }

    /// The state before any row.
    pub fn start(self) -> AggregateState {
        AggregateState {
            method: self.get().method,
            rows: 0,
            integer: 0,
            value: Datum::Null,
            squares: Datum::Null,
            float: [0.0; 2],
            list: Vec::new(),
        }
    }

    /// Whether rows with a NULL argument are passed over (all but `count(*)` and `array_agg`; `string_agg` looks at its first).
    pub fn skips_null(self) -> bool {
        !matches!(self.get().method, Method::CountRows | Method::Collect)
    }
}

/// An aggregate's state. One for each group; owned by whoever runs the aggregation.
#[derive(Clone, Debug)]
pub struct AggregateState {
    method: Method,
    /// Rows accumulated.
    rows: i64,
    /// Sum of integers.
    integer: i128,
    /// Sum, minimum, maximum, or truth value so far.
    value: Datum,
    /// Sum of squares, numeric.
    squares: Datum,
    /// Sum, and sum of squared deviations (Youngs and Cramer 1971).
    float: [f64; 2],
    list: Vec<Datum>,
}

fn internal() -> SqlError {
    SqlError::internal("an aggregate was fed values of other types than it was resolved for")
}

fn compute(op: BinaryOp, a: &Datum, b: &Datum) -> SqlResult<Datum> {
    crate::types::arith::binary(op, a, b, &SessionFormat::default())
}

fn to_numeric(value: i128) -> Datum {
    Datum::numeric(Numeric::Finite { unscaled: BigInt::from(value), scale: 0 })
}

impl AggregateState {
    /// Takes a row's arguments.
    pub fn accumulate(&mut self, args: &[Datum]) -> SqlResult<()> {
        let skipped = !matches!(self.method, Method::CountRows | Method::Collect) && args.first().is_none_or(Datum::is_null);
        if skipped {
            return Ok(());
        }
        self.rows += 1;
        match self.method {
            Method::CountRows | Method::Count => {}
            Method::SumInteger | Method::SumBigint | Method::AverageInteger => {
                self.integer += i128::from(args[0].as_i64().ok_or_else(internal)?);
            }
            Method::Sum | Method::AverageNumeric | Method::AverageInterval => {
                self.value = if self.value.is_null() { args[0].clone() } else { compute(BinaryOp::Add, &self.value, &args[0])? };
            }
            Method::Min => self.keep(&args[0], std::cmp::Ordering::is_lt),
            Method::Max => self.keep(&args[0], std::cmp::Ordering::is_gt),
            Method::And => self.value = Datum::Bool(self.value.as_bool().unwrap_or(true) && args[0].as_bool() == Some(true)),
            Method::Or => self.value = Datum::Bool(self.value.as_bool().unwrap_or(false) || args[0].as_bool() == Some(true)),
            Method::Join => {
                // The delimiter in front of the first value is not used.
                if self.rows > 1 && !args[1].is_null() {
                    self.list.push(args[1].clone());
                }
                self.list.push(args[0].clone());
            }
            Method::Collect => self.list.push(args[0].clone()),
            Method::VarianceNumeric(..) => self.square(&args[0])?,
            Method::AverageFloat | Method::VarianceFloat(..) => self.deviate(args[0].as_f64().ok_or_else(internal)?)?,
        }
        Ok(())
    }

    fn keep(&mut self, value: &Datum, better: fn(std::cmp::Ordering) -> bool) {
        if self.value.is_null() || better(crate::types::compare(value, &self.value)) {
            self.value = value.clone();
        }
    }

    fn square(&mut self, value: &Datum) -> SqlResult<()> {
        let value = match value {
            Datum::Numeric(_) => value.clone(),
            other => to_numeric(i128::from(other.as_i64().ok_or_else(internal)?)),
        };
        let square = compute(BinaryOp::Mul, &value, &value)?;
        if self.value.is_null() {
            (self.value, self.squares) = (value, square);
        } else {
            self.value = compute(BinaryOp::Add, &self.value, &value)?;
            self.squares = compute(BinaryOp::Add, &self.squares, &square)?;
        }
        Ok(())
    }

    /// float8_accum of PostgreSQL's float.c.
    #[expect(clippy::cast_precision_loss, reason = "a count of rows beyond 2^53 is out of reach")]
    fn deviate(&mut self, value: f64) -> SqlResult<()> {
        let [sum, deviation] = &mut self.float;
        let count = self.rows as f64;
        let old_sum = *sum;
        *sum += value;
        if self.rows > 1 {
            let difference = value * count - *sum;
            *deviation += difference * difference / (count * (count - 1.0));
            if (sum.is_infinite() || deviation.is_infinite()) && !old_sum.is_infinite() && !value.is_infinite() {
                return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
            }
            if sum.is_infinite() {
                *deviation = f64::NAN;
            }
        } else if value.is_nan() || value.is_infinite() {
            *deviation = f64::NAN;
        }
        Ok(())
    }

    /// The aggregate's value.
    pub fn finish(self) -> SqlResult<Datum> {
        if let Method::CountRows | Method::Count = self.method {
            return Ok(Datum::Int8(self.rows));
        }
        if self.rows == 0 {
            return Ok(Datum::Null);
        }
        let rows = to_numeric(i128::from(self.rows));
        match self.method {
            Method::SumInteger => i64::try_from(self.integer)
                .map(Datum::Int8)
                .map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range")),
            Method::SumBigint => Ok(to_numeric(self.integer)),
            Method::AverageInteger => compute(BinaryOp::Div, &to_numeric(self.integer), &rows),
            Method::AverageNumeric => compute(BinaryOp::Div, &self.value, &rows),
            #[expect(clippy::cast_precision_loss, reason = "a count of rows beyond 2^53 is out of reach")]
            Method::AverageInterval => compute(BinaryOp::Div, &self.value, &Datum::Float8(self.rows as f64)),
            #[expect(clippy::cast_precision_loss, reason = "a count of rows beyond 2^53 is out of reach")]
            Method::AverageFloat => Ok(Datum::Float8(self.float[0] / self.rows as f64)),
            Method::Join => join(&self.list),
            Method::Collect => Ok(Datum::Array(self.list.into())),
            Method::VarianceNumeric(root, population) => self.variance(root, population),
            Method::VarianceFloat(root, population) => Ok(self.float_variance(root, population)),
            _ => Ok(self.value),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of rows beyond 2^53 is out of reach")]
    fn float_variance(&self, root: bool, population: bool) -> Datum {
        let divisor = if population { self.rows } else { self.rows - 1 };
        if divisor == 0 {
            return Datum::Null;
        }
        let variance = self.float[1] / divisor as f64;
        Datum::Float8(if root { variance.sqrt() } else { variance })
    }

    /// (N·ΣX² − (ΣX)²) / (N·(N − 1)), or / N² for a population (numeric.c, numeric_stddev_internal).
    fn variance(&self, root: bool, population: bool) -> SqlResult<Datum> {
        if !population && self.rows < 2 {
            return Ok(Datum::Null);
        }
        let rows = to_numeric(i128::from(self.rows));
        let squares = compute(BinaryOp::Mul, &rows, &self.squares)?;
        let difference = compute(BinaryOp::Sub, &squares, &compute(BinaryOp::Mul, &self.value, &self.value)?)?;
        if let Datum::Numeric(value) = &difference
            && let Numeric::Finite { unscaled, .. } = &**value
            && !unscaled.is_positive()
        {
            return Ok(to_numeric(0));
        }
        let other = if population { rows.clone() } else { to_numeric(i128::from(self.rows) - 1) };
        let variance = compute(BinaryOp::Div, &difference, &compute(BinaryOp::Mul, &rows, &other)?)?;
        match (&variance, root) {
            (Datum::Numeric(value), true) => Ok(Datum::numeric(square_root(value))),
            _ => Ok(variance),
        }
    }
}

/// The root with as many digits after the point as the number has, rounded.
fn square_root(value: &Numeric) -> Numeric {
    let Numeric::Finite { unscaled, scale } = value else { return value.clone() };
    let scaled = unscaled * BigInt::from(10).pow(*scale);
    let mut root = scaled.sqrt();
    // sqrt cuts; beyond half way to the next integer it is the next one.
    if &scaled - &root * &root > root {
        root += 1;
    }
    Numeric::Finite { unscaled: root, scale: *scale }
}

fn join(list: &[Datum]) -> SqlResult<Datum> {
    if let Some(Datum::Bytea(_)) = list.first() {
        let mut out = Vec::new();
        for item in list {
            let Datum::Bytea(bytes) = item else { return Err(internal()) };
            out.extend_from_slice(bytes);
        }
        return Ok(Datum::Bytea(out.into()));
    }
    let mut out = String::new();
    for item in list {
        out.push_str(item.as_str().ok_or_else(internal)?);
    }
    Ok(Datum::Text(out.into()))
}

impl AggregateState {
    /// Heap bytes the state holds, for statement memory accounts.
    pub fn heap_bytes(&self) -> usize {
        self.list.iter().map(Datum::heap_bytes).sum::<usize>() + self.list.capacity() * std::mem::size_of::<Datum>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SqlType;

    fn run(name: &str, ty: SqlType, values: &[Datum]) -> Datum {
        let (function, _) = resolve(name, &[ty], false).expect("there is such an aggregate");
        let mut state = function.start();
        for value in values {
            state.accumulate(std::slice::from_ref(value)).expect("no overflow");
        }
        state.finish().expect("no overflow")
    }

    #[test]
    fn integers_are_summed_in_wider_types() {
        let values = [Datum::Int4(i32::MAX), Datum::Null, Datum::Int4(1)];
        assert!(matches!(run("sum", SqlType::Int4, &values), Datum::Int8(2_147_483_648)));
        assert!(matches!(run("count", SqlType::Int4, &values), Datum::Int8(2)));
        assert!(matches!(run("max", SqlType::Int4, &values), Datum::Int4(i32::MAX)));
        assert!(matches!(run("sum", SqlType::Int4, &[]), Datum::Null));
        let (_, signature) = resolve("sum", &[SqlType::Int8], false).expect("sum of bigint");
        assert_eq!(signature.result, SqlType::Numeric);
    }

    #[test]
    fn deviations_of_floats() {
        let values: Vec<Datum> = [1.0, 2.0, 4.0].map(Datum::Float8).into();
        let Datum::Float8(variance) = run("var_pop", SqlType::Float8, &values) else { panic!("a float") };
        assert!((variance - 14.0 / 9.0).abs() < 1e-12);
        assert!(matches!(run("stddev", SqlType::Float8, &values[..1]), Datum::Null));
    }
}
