//! Finding tables by their names, as a role sees them: a schema that it may not use hides what it holds.

use std::sync::Arc;

use crate::base::Oid;
use crate::catalog::model::{Catalog, SchemaDef, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};

/// 42501 for a schema.
pub fn denied_schema(schema: &str) -> SqlError {
    SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied for schema {schema}"))
}

impl Catalog {
    /// A schema by name.
    pub fn schema_named(&self, name: &str) -> Option<&Arc<SchemaDef>> {
        self.schemas.values().find(|schema| schema.name == name)
    }

    /// A schema that a statement names, for what is in it.
    ///
    /// Errors: 3F000, and 42501 if the role may not use it.
    pub fn used_schema(&self, role: Oid, name: &str) -> SqlResult<&Arc<SchemaDef>> {
        let missing = || SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"));
        let schema = self.schema_named(name).ok_or_else(missing)?;
        if self.may_use_schema(role, schema) { Ok(schema) } else { Err(denied_schema(name)) }
    }

    /// A user's table, by schema or along the search path, where schemas that the role may not use are passed over.
    ///
    /// Errors: 42501 for a schema that is named and may not be used.
    pub fn find_table(&self, role: Oid, path: &[String], schema: Option<&str>, name: &str) -> SqlResult<Option<&Arc<TableDef>>> {
        let inside = |schema: &SchemaDef| self.tables.get(self.table_names.get(&(schema.oid, name.to_owned()))?);
        if let Some(named) = schema {
            let Some(schema) = self.schema_named(named) else { return Ok(None) };
            return if self.may_use_schema(role, schema) { Ok(inside(schema)) } else { Err(denied_schema(named)) };
        }
        let mut schemas = path.iter().filter_map(|name| self.schema_named(name));
        // The name first: whether a schema may be used takes longer to find out.
        Ok(schemas.find_map(|schema| inside(schema).filter(|_| self.may_use_schema(role, schema))))
    }

    /// Whether an index has this name, in a schema or along the search path.
    pub fn has_index(&self, path: &[String], schema: Option<&str>, name: &str) -> bool {
        let is_here = |table: &TableDef| {
            let named = table.primary_key.as_ref().is_some_and(|key| key.name == name);
            let within = |of: &str| schema.map_or_else(|| path.iter().any(|known| known == of), |schema| schema == of);
            named && self.schemas.get(&table.schema).is_some_and(|schema| within(&schema.name))
        };
        self.tables.values().any(|table| is_here(table))
    }
}

/// 42P01.
pub fn undefined_relation(schema: Option<&str>, name: &str) -> SqlError {
    let shown = match schema {
        Some(schema) => format!("{schema}.{name}"),
        None => name.to_owned(),
    };
    SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"))
}
