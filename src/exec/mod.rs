//! The native executor: carries out plans on the session's core, asking the engine for rows.
//!
//! | module | role |
//! |---|---|
//! | `context` | what a statement runs with; sinks; command tags |
//! | `keys` | from key expressions to storage keys and ranges, and back for error messages |
//! | `programs` | filters and updates as row programs that owners run on row bytes |
//! | `query` | SELECT: streams of row batches, blocking operators |
//! | `insert`, `dml` | INSERT, and UPDATE and DELETE that the rows' owners carry out; RETURNING |
//! | `additions` | updates that only add, and statements that observe nothing |
//! | `row_by_row` | UPDATE and DELETE with FROM, USING or correlated subqueries |
//! | `copy` | COPY's text and CSV formats, in and out |
//! | `ddl` | CREATE, DROP, TRUNCATE, ADD PRIMARY KEY, transactional through the catalog's rows |
//! | `role`, `privileges` | roles, and what is granted to them |
//! | `analyze` | what a sample of a table's rows says about its columns |
//! | `portal` | a statement being executed, in pieces if the client wants |
//! | `waiting` | functions that wait, between two evaluations of an expression |
//! | `explain` | plans as PostgreSQL prints them |

mod additions;
pub mod analyze;
#[cfg(test)]
mod changes_tests;
pub mod context;
pub mod copy;
pub mod copy_from;
pub mod ddl;
pub mod dml;
pub mod insert;
pub mod keys;
pub mod maintenance;
pub mod portal;
mod privileges;
pub mod programs;
pub mod query;
mod role;
pub mod row_by_row;
mod waiting;

pub use additions::observes_nothing;
pub use context::{CommandTag, ExecContext, FrozenSession, Notice, Row, RowSink};
pub use portal::{Portal, Progress};
