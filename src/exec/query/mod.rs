//! (being written)
use crate::error::{SqlError, SqlResult};
use crate::exec::context::{ExecContext, Row};
use crate::sql::plan::{Node, Query};
pub struct QueryStream;
impl QueryStream {
    pub async fn open(_: &Node, _: &mut ExecContext<'_>) -> SqlResult<QueryStream> {
        Err(SqlError::unsupported("queries"))
    }
    pub async fn open_query(_: &Query, _: &mut ExecContext<'_>) -> SqlResult<QueryStream> {
        Err(SqlError::unsupported("queries"))
    }
    pub async fn next(&mut self, _: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        Ok(None)
    }
}
pub mod explain {
    pub fn explain(_: &crate::sql::plan::Statement, _: &crate::catalog::Catalog) -> Vec<String> {
        Vec::new()
    }
}
