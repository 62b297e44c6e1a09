//! CREATE TABLE, DROP TABLE, TRUNCATE and ALTER TABLE.

use std::sync::Arc;

use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{self, ColumnOption, CreateTableOptions, SqlOption, TableConstraint};

use crate::base::Oid;
use crate::catalog::acl::ask::Holder;
use crate::catalog::lookup::{denied_schema, undefined_relation};
use crate::catalog::{ColumnDef, Privileges, SchemaDef, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::names::{at, identifier, position, qualified};
use crate::sql::binder::{Binder, refuse_present, types};
use crate::sql::ddl::Ddl;
use crate::sql::parser::ast::TableName;
use crate::sql::parser::fold;
use crate::sql::plan::{OutputColumn, Plan};
use crate::sql::role::RoleName;

/// PostgreSQL's limit of columns in a table.
const COLUMNS_MAX: usize = 1600;

/// PostgreSQL's limit of columns in an index.
const KEY_COLUMNS_MAX: usize = 32;

const SYSTEM_COLUMNS: &[&str] = &["tableoid", "cmax", "xmax", "cmin", "xmin", "ctid"];

/// A primary key as declared: name, columns with positions.
type DeclaredKey = (Option<String>, Vec<(String, Option<u32>)>);

impl Binder<'_> {
    /// Binds a CREATE TABLE.
    pub fn create_table(&self, create: &ast::CreateTable) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        check_clauses(create)?;
        let (schema, name, start) = qualified(&create.name)?;
        let schema = self.creation_schema(schema.as_deref(), &name, start)?;
        let mut columns: Vec<ColumnDef> = Vec::with_capacity(create.columns.len());
        let mut key: Option<DeclaredKey> = None;
        for column in &create.columns {
            let definition = self.column_definition(column, &name, &mut key)?;
            if columns.iter().any(|other| other.name == definition.name) {
                let message = format!("column \"{}\" specified more than once", definition.name);
                return Err(at(SqlError::new(SqlState::DUPLICATE_COLUMN, message), position(&column.name)));
            }
            columns.push(definition);
        }
        if columns.len() > COLUMNS_MAX {
            return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, format!("tables can have at most {COLUMNS_MAX} columns")));
        }
        for constraint in &create.constraints {
            let declared = table_constraint(constraint)?;
            declare_key(&mut key, declared, &name)?;
        }
        let primary_key = key.map(|key| resolve_key(key, &mut columns, &name)).transpose()?;
        let options = storage_options(&create.table_options)?;
        let if_not_exists = create.if_not_exists;
        Ok((Plan::Ddl(Ddl::CreateTable { schema, name, if_not_exists, columns, primary_key, options }), Vec::new()))
    }

    fn creation_schema(&self, schema: Option<&str>, table: &str, start: Option<u32>) -> SqlResult<Oid> {
        let (catalog, role) = (self.context.catalog, self.context.session.role());
        let find = |name: &str| catalog.schema_named(name);
        let checked = |schema: &SchemaDef| {
            let may = catalog.held_on_schema(Holder::Role(role), schema).privileges.contains(Privileges::CREATE);
            if may { Ok(schema.oid) } else { Err(at(denied_schema(&schema.name), start)) }
        };
        match schema {
            Some(name @ ("pg_catalog" | "information_schema")) => {
                find(name).map_or(Ok(Oid(0)), |schema| checked(schema))?;
                let message = format!("permission denied to create \"{name}.{table}\"");
                Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                    .detail("System catalog modifications are currently disallowed."))
            }
            Some(name) => checked(find(name).ok_or_else(|| {
                at(SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")), start)
            })?),
            None => {
                let path = self.context.session.search_path().iter();
                let first = path.filter_map(|name| find(name)).find(|schema| catalog.may_use_schema(role, schema));
                checked(first.ok_or_else(|| {
                    at(SqlError::new(SqlState::INVALID_SCHEMA_NAME, "no schema has been selected to create in"), start)
                })?)
            }
        }
    }

    fn column_definition(&self, column: &ast::ColumnDef, table: &str, key: &mut Option<DeclaredKey>) -> SqlResult<ColumnDef> {
        let name = identifier(&column.name);
        let start = position(&column.name);
        if SYSTEM_COLUMNS.contains(&name.as_str()) {
            let message = format!("column name \"{name}\" conflicts with a system column name");
            return Err(at(SqlError::new(SqlState::DUPLICATE_COLUMN, message), start));
        }
        let ty = types::resolve(&column.data_type).map_err(|error| at(error, start))?;
        if !ty.ty.is_storable() {
            return Err(at(SqlError::unsupported(format!("a column of type {}", ty.ty.name())), start));
        }
        let (mut null, mut not_null, mut default) = (false, false, None);
        for ast::ColumnOptionDef { name: constraint, option } in &column.options {
            match option {
                ColumnOption::Null => null = true,
                ColumnOption::NotNull => not_null = true,
                ColumnOption::Default(expr) => {
                    if default.is_some() {
                        let message = format!("multiple default values specified for column \"{name}\" of table \"{table}\"");
                        return Err(at(SqlError::new(SqlState::SYNTAX_ERROR, message), start));
                    }
                    default = Some(self.default_text(expr, ty, &name)?);
                }
                ColumnOption::PrimaryKey(primary) => {
                    plain_key(primary)?;
                    let declared = (constraint.as_ref().map(identifier), vec![(name.clone(), start)]);
                    declare_key(key, declared, table)?;
                }
                ColumnOption::Unique(_) => return Err(SqlError::unsupported("UNIQUE")),
                ColumnOption::Check(_) => return Err(SqlError::unsupported("CHECK")),
                ColumnOption::ForeignKey(_) => return Err(SqlError::unsupported("REFERENCES (a foreign key)")),
                ColumnOption::Generated { .. } => return Err(SqlError::unsupported("GENERATED")),
                ColumnOption::Collation(_) => return Err(SqlError::unsupported("COLLATE of a column")),
                other => return Err(SqlError::unsupported(format!("the column option {other}"))),
            }
        }
        if null && not_null {
            let message = format!("conflicting NULL/NOT NULL declarations for column \"{name}\" of table \"{table}\"");
            return Err(at(SqlError::new(SqlState::SYNTAX_ERROR, message), start));
        }
        Ok(ColumnDef { name, ty, not_null, default })
    }

    /// A DEFAULT as text, after it has been bound once to see that it fits.
    fn default_text(&self, expr: &ast::Expr, ty: crate::types::ColumnType, column: &str) -> SqlResult<String> {
        let text = expr.to_string();
        match self.default_expression(&text, ty, column) {
            Ok(_) => Ok(text),
            Err(error) if error.code() == SqlState::UNDEFINED_COLUMN => {
                let message = "cannot use column reference in DEFAULT expression";
                Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
            }
            Err(error) => Err(error),
        }
    }

    /// DROP TABLE.
    pub fn drop_table(&self, if_exists: bool, names: &[TableName]) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        let (mut tables, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            match self.find_table(name.schema.as_deref(), &name.name)? {
                Some(table) => {
                    self.check_ownership(&table)?;
                    tables.push(table);
                }
                None if if_exists => missing.push(name.name.clone()),
                None => {
                    let shown = name.schema.as_ref().map_or(name.name.clone(), |schema| format!("{schema}.{}", name.name));
                    return Err(SqlError::new(SqlState::UNDEFINED_TABLE, format!("table \"{shown}\" does not exist")));
                }
            }
        }
        Ok((Plan::Ddl(Ddl::DropTable { tables, missing }), Vec::new()))
    }

    /// TRUNCATE.
    pub fn truncate(&self, names: &[TableName]) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        let tables = names
            .iter()
            .map(|name| {
                let table = self
                    .find_table(name.schema.as_deref(), &name.name)?
                    .ok_or_else(|| undefined_relation(name.schema.as_deref(), &name.name))?;
                self.check_truncate(&table)?;
                Ok(table)
            })
            .collect::<SqlResult<Vec<_>>>()?;
        Ok((Plan::Ddl(Ddl::Truncate { tables }), Vec::new()))
    }

    /// The table that ALTER TABLE names, which must be the role's own.
    fn altered(&self, name: &TableName, if_exists: bool) -> SqlResult<Arc<TableDef>> {
        let Some(table) = self.find_table(name.schema.as_deref(), &name.name)? else {
            if if_exists {
                return Err(SqlError::unsupported("ALTER TABLE IF EXISTS of a missing table"));
            }
            return Err(undefined_relation(name.schema.as_deref(), &name.name));
        };
        self.check_ownership(&table)?;
        Ok(table)
    }

    /// ALTER TABLE … OWNER TO.
    pub fn change_owner(&self, name: &TableName, if_exists: bool, to: &RoleName) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        let table = self.altered(name, if_exists)?;
        Ok((Plan::Ddl(Ddl::ChangeOwner { table, to: to.clone() }), Vec::new()))
    }

    /// ALTER TABLE … ADD PRIMARY KEY.
    pub fn add_primary_key(
        &self,
        name: &TableName,
        if_exists: bool,
        constraint: Option<&str>,
        columns: &[(String, u32)],
    ) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        let table = self.altered(name, if_exists)?;
        if table.primary_key.is_some() {
            return Err(multiple_keys(&table.name));
        }
        let declared = columns.iter().map(|(name, position)| (name.clone(), Some(*position))).collect();
        let mut definitions = table.columns.clone();
        let (name, columns) = resolve_key((constraint.map(str::to_owned), declared), &mut definitions, &table.name)?;
        Ok((Plan::Ddl(Ddl::AddPrimaryKey { table, name, columns }), Vec::new()))
    }
}

fn multiple_keys(table: &str) -> SqlError {
    let message = format!("multiple primary keys for table \"{table}\" are not allowed");
    SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message)
}

fn declare_key(key: &mut Option<DeclaredKey>, declared: DeclaredKey, table: &str) -> SqlResult<()> {
    if key.is_some() {
        return Err(multiple_keys(table));
    }
    *key = Some(declared);
    Ok(())
}

/// A PRIMARY KEY without clauses this server has not.
fn plain_key(key: &ast::PrimaryKeyConstraint) -> SqlResult<()> {
    let ast::PrimaryKeyConstraint { name: _, index_name, index_type, columns: _, include, index_options, characteristics } = key;
    if index_name.is_some() || index_type.is_some() || !index_options.is_empty() {
        return Err(SqlError::unsupported("PRIMARY KEY with index options"));
    }
    if !include.is_empty() {
        return Err(SqlError::unsupported("PRIMARY KEY … INCLUDE"));
    }
    characteristics.as_ref().map_or(Ok(()), check_characteristics)
}

fn table_constraint(constraint: &TableConstraint) -> SqlResult<DeclaredKey> {
    let key = match constraint {
        TableConstraint::PrimaryKey(key) => key,
        TableConstraint::Unique(_) => return Err(SqlError::unsupported("UNIQUE")),
        TableConstraint::ForeignKey(_) => return Err(SqlError::unsupported("FOREIGN KEY")),
        TableConstraint::Check(_) => return Err(SqlError::unsupported("CHECK")),
        TableConstraint::Exclude(_) => return Err(SqlError::unsupported("EXCLUDE")),
        other => return Err(SqlError::unsupported(format!("the constraint {other}"))),
    };
    plain_key(key)?;
    let columns = key
        .columns
        .iter()
        .map(|column| match &column.column {
            ast::OrderByExpr {
                expr: ast::Expr::Identifier(ident),
                options: ast::OrderByOptions { sort: None, nulls_first: None },
                with_fill: None,
            } if column.operator_class.is_none() => Ok((identifier(ident), position(ident))),
            _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, "a primary key is a list of columns")),
        })
        .collect::<SqlResult<Vec<_>>>()?;
    Ok((key.name.as_ref().map(identifier), columns))
}

/// Names and columns of the key; its columns become NOT NULL.
fn resolve_key(key: DeclaredKey, columns: &mut [ColumnDef], table: &str) -> SqlResult<(String, Vec<usize>)> {
    let (name, declared) = key;
    let mut numbers = Vec::with_capacity(declared.len());
    for (column, start) in declared {
        let Some(number) = columns.iter().position(|definition| definition.name == column) else {
            let message = format!("column \"{column}\" named in key does not exist");
            return Err(at(SqlError::new(SqlState::UNDEFINED_COLUMN, message), start));
        };
        if numbers.contains(&number) {
            let message = format!("column \"{column}\" appears twice in primary key constraint");
            return Err(at(SqlError::new(SqlState::DUPLICATE_COLUMN, message), start));
        }
        columns[number].not_null = true;
        numbers.push(number);
    }
    if numbers.len() > KEY_COLUMNS_MAX {
        let message = format!("cannot use more than {KEY_COLUMNS_MAX} columns in an index");
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message));
    }
    // PostgreSQL shortens the table's part so that the whole fits into 63 bytes.
    let name = name.unwrap_or_else(|| {
        let mut stem = table.to_owned();
        while stem.len() + "_pkey".len() > 63 {
            stem.pop();
        }
        fold(&format!("{stem}_pkey"), true)
    });
    Ok((name, numbers))
}

/// WITH (…): the parameters PostgreSQL has for heaps, of which this storage only keeps the text.
fn storage_options(options: &CreateTableOptions) -> SqlResult<Vec<(String, String)>> {
    let options = match options {
        CreateTableOptions::None => return Ok(Vec::new()),
        CreateTableOptions::With(options) => options,
        CreateTableOptions::Plain(options) => match &options[..] {
            // Everything is in the one place that the default tablespace stands for.
            [SqlOption::TableSpace(ast::TablespaceOption { name, storage: None })] if name == "pg_default" => {
                return Ok(Vec::new());
            }
            [SqlOption::TableSpace(ast::TablespaceOption { name, storage: None })] => {
                let message = format!("tablespace \"{name}\" does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
            }
            _ => return Err(SqlError::unsupported(format!("the table option {}", options[0]))),
        },
        other => return Err(SqlError::unsupported(format!("the table option {other}"))),
    };
    let mut kept: Vec<(String, String)> = Vec::with_capacity(options.len());
    for option in options {
        let (name, value, start) = match option {
            SqlOption::KeyValue { key, value } => (identifier(key), value.to_string(), position(key)),
            SqlOption::Ident(key) => (identifier(key), "true".to_owned(), position(key)),
            other => return Err(SqlError::unsupported(format!("the table option {other}"))),
        };
        let value = value.trim_matches('\'').to_owned();
        match name.as_str() {
            "fillfactor" => match value.parse::<i32>() {
                Ok(10..=100) => {}
                Ok(_) => {
                    let message = format!("value {value} out of bounds for option \"fillfactor\"");
                    let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
                    return Err(error.detail("Valid values are between \"10\" and \"100\"."));
                }
                Err(_) => {
                    let message = format!("invalid value for integer option \"fillfactor\": {value}");
                    return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
                }
            },
            "autovacuum_enabled" | "toast_tuple_target" | "parallel_workers" => {
                return Err(at(SqlError::unsupported(format!("the storage parameter {name}")), start));
            }
            _ => {
                let message = format!("unrecognized parameter \"{name}\"");
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
        if kept.iter().any(|(other, _)| *other == name) {
            let message = format!("parameter \"{name}\" specified more than once");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        kept.push((name, value));
    }
    Ok(kept)
}

/// Clauses this server has not, and those of other dialects. What is not refused by name must make up the whole statement.
fn check_clauses(create: &ast::CreateTable) -> SqlResult<()> {
    refuse_present(&[
        (create.or_replace, "CREATE OR REPLACE TABLE"),
        (create.temporary || create.global.is_some(), "CREATE TEMPORARY TABLE"),
        (create.unlogged, "CREATE UNLOGGED TABLE"),
        (create.query.is_some(), "CREATE TABLE AS"),
        (create.like.is_some(), "LIKE in CREATE TABLE"),
        (create.on_commit.is_some(), "ON COMMIT"),
        (create.partition_by.is_some(), "PARTITION BY"),
        (create.partition_of.is_some() || create.for_values.is_some(), "PARTITION OF"),
        (create.inherits.is_some(), "INHERITS"),
    ])?;
    let known = CreateTableBuilder::new(create.name.clone())
        .if_not_exists(create.if_not_exists)
        .columns(create.columns.clone())
        .constraints(create.constraints.clone())
        .table_options(create.table_options.clone())
        .hive_formats(None)
        .build();
    if known == *create { Ok(()) } else { Err(SqlError::unsupported("this clause of CREATE TABLE")) }
}

/// A constraint that is checked at once is what a primary key is anyway.
fn check_characteristics(characteristics: &ast::ConstraintCharacteristics) -> SqlResult<()> {
    let ast::ConstraintCharacteristics { deferrable, initially, enforced } = characteristics;
    refuse_present(&[
        (*deferrable == Some(true) || *initially == Some(ast::DeferrableInitial::Deferred), "a DEFERRABLE constraint"),
        (enforced.is_some(), "ENFORCED"),
    ])
}
