//! The front as a whole: text in; plan, types, values or error out.

mod bind;
mod clauses;
mod hostile;
mod privileges;
mod support;
