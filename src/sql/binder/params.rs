//! Parameters and the types the statement gives them.
//!
//! A parameter is declared by the client or takes the type of the first context that needs one (variable parameters,
//! parse_param.c). In slot mode there are no `$n`: the parameters are the statement's own literals, found by position.

use std::cell::RefCell;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::cache::Literal;
use crate::types::SqlType;

/// Highest `$n`: the count is 16 bits in the protocol's messages.
const PARAMS_MAX: usize = 65_535;

/// The parameters of one statement.
pub struct Params {
    types: RefCell<Vec<SqlType>>,
    /// Slot mode: character positions of the literals and how often each was met.
    slots: Vec<(u32, std::cell::Cell<u32>)>,
}

impl Params {
    /// As declared by the client; `Unknown` is inferred.
    pub fn given(types: &[SqlType]) -> Self {
        Self { types: RefCell::new(types.to_vec()), slots: Vec::new() }
    }

    /// Literals as parameters.
    pub fn slots(literals: &[Literal]) -> Self {
        let types = literals.iter().map(|literal| literal.value.ty()).collect();
        let slots = literals.iter().map(|literal| (literal.position, std::cell::Cell::new(0))).collect();
        Self { types: RefCell::new(types), slots }
    }

    /// The parameter that stands for the literal at a position.
    pub fn slot_at(&self, position: Option<u32>) -> Option<(usize, SqlType)> {
        let index = self.slots.binary_search_by_key(&position?, |(position, _)| *position).ok()?;
        self.slots[index].1.set(self.slots[index].1.get() + 1);
        Some((index, self.types.borrow()[index]))
    }

    /// Whether every literal became a parameter at exactly one place, of a type that is read without the catalog: the name of
    /// a table is looked up when the statement is bound.
    pub fn all_slots_used_once(&self) -> bool {
        self.slots.iter().all(|(_, used)| used.get() == 1) && !self.types.borrow().iter().any(|ty| ty.is_catalog_name())
    }

    /// `$number`: its index and the type it has so far.
    pub fn reference(&self, number: usize) -> SqlResult<(usize, SqlType)> {
        if number == 0 || number > PARAMS_MAX || !self.slots.is_empty() {
            return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter ${number}")));
        }
        let mut types = self.types.borrow_mut();
        if types.len() < number {
            types.resize(number, SqlType::Unknown);
        }
        Ok((number - 1, types[number - 1]))
    }

    /// Gives a parameter its type; answers the type it has, which is another one if it was decided before.
    pub fn decide(&self, index: usize, ty: SqlType) -> SqlType {
        let slot = &mut self.types.borrow_mut()[index];
        if *slot == SqlType::Unknown {
            *slot = ty;
        }
        *slot
    }

    /// All types; 42P18 if one was never decided.
    pub fn finish(&self) -> SqlResult<Vec<SqlType>> {
        let types = self.types.borrow();
        match types.iter().position(|&ty| ty == SqlType::Unknown) {
            Some(index) => Err(SqlError::new(
                SqlState::INDETERMINATE_DATATYPE,
                format!("could not determine data type of parameter ${}", index + 1),
            )),
            None => Ok(types.clone()),
        }
    }
}
