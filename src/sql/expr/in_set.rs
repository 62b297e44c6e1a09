//! The values of an IN subquery, arranged for lookups.

use std::cmp::Ordering;

use crate::types::Datum;

/// The distinct non-NULL values of an IN subquery in order, and whether there was a NULL.
#[derive(Clone, Debug, Default)]
pub struct InSet {
    values: Vec<Datum>,
    has_null: bool,
}

impl InSet {
    /// From the subquery's values; all of one type, the type of the left side.
    pub fn new(values: impl IntoIterator<Item = Datum>) -> Self {
        let mut set = Self::default();
        for value in values {
            if matches!(value, Datum::Null) { set.has_null = true } else { set.values.push(value) }
        }
        set.values.sort_by(compare);
        set.values.dedup_by(|a, b| compare(a, b) == Ordering::Equal);
        set
    }

    /// `value IN (set)` with SQL's NULLs: `None` is unknown.
    pub fn contains(&self, value: &Datum) -> Option<bool> {
        if self.values.is_empty() && !self.has_null {
            return Some(false);
        }
        if matches!(value, Datum::Null) {
            return None;
        }
        match self.values.binary_search_by(|probe| compare(probe, value)) {
            Ok(_) => Some(true),
            Err(_) if self.has_null => None,
            Err(_) => Some(false),
        }
    }
}

fn compare(a: &Datum, b: &Datum) -> Ordering {
    crate::sql::values::compare(a, b)
}
