//! What names mean at a place in a query.
//!
//! A scope describes one row: the relations joined in a FROM clause, side by side. Scopes are chained like the rows that
//! evaluation keeps on its stack, so a name found `n` scopes out is `Expr::Outer { depth: n, .. }`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::base::Oid;
use crate::catalog::TableDef;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::Typed;
use crate::sql::binder::access::{Mention, Usage};
use crate::sql::binder::names::at;
use crate::sql::expr::{Expr, walk};
use crate::sql::plan::Node;
use crate::types::ColumnType;

/// A column of a relation in FROM, or of a query's result.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub ty: ColumnType,
    /// Table and attribute number, for a plain column of a table.
    pub source: Option<(Oid, i16)>,
    /// Where it is in the scope's row.
    pub index: usize,
    /// Merged into another by USING or NATURAL: reachable only by its qualified name.
    pub merged: bool,
}

/// A relation in FROM.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its alias, or the table's name.
    pub name: String,
    /// The table's schema, when it is a table without an alias.
    pub schema: Option<String>,
    /// Columns.
    pub columns: Vec<Column>,
    /// The table, for rules that need its key.
    pub table: Option<Arc<TableDef>>,
    /// Columns that USING made of several relations' come first in `*` and are found unqualified only.
    pub unnamed: bool,
    /// Where it is noted which of its columns are read.
    pub usage: Mention,
}

impl Relation {
    /// Notes that a column is read.
    pub fn select(&self, column: usize) {
        if let Some(usage) = &self.usage {
            usage.select(column);
        }
    }
}

/// A row's relations.
#[derive(Default)]
pub struct Scope<'p> {
    /// Relations in the order of FROM.
    pub relations: Vec<Relation>,
    /// How many columns the row has.
    pub width: usize,
    /// Values of columns merged by USING, by their place behind `width` (a FULL JOIN's is a COALESCE).
    pub merged: Vec<(String, Typed)>,
    /// The next scope out.
    pub parent: Option<&'p Scope<'p>>,
    /// WITH queries visible here.
    pub ctes: Option<Rc<Cte>>,
}

/// WITH queries that are visible.
pub type Ctes = Option<Rc<Cte>>;

/// A WITH query, chained to those visible before it.
pub struct Cte {
    /// Name.
    pub name: String,
    /// Result columns.
    pub columns: Vec<Column>,
    /// Plan.
    pub node: Node,
    /// Scopes between the query that has the WITH clause and the outermost: how far its own outer references count.
    pub level: usize,
    /// Whether it has been read by the query already.
    pub read: Cell<bool>,
    /// The tables that it mentions, until it is read: a query that nobody reads asks for nothing.
    pub usages: RefCell<Vec<Rc<Usage>>>,
    /// The rest.
    pub next: Option<Rc<Cte>>,
}

impl Cte {
    /// Notes that the query is read, `further` scopes in.
    ///
    /// The plan of a WITH query takes the place of its name, which answers the same as computing it once would (MATERIALIZED
    /// or not) unless it calls volatile functions and is run more than once: that is 0A000.
    pub fn read_once(&self, further: usize) -> SqlResult<()> {
        let again = self.read.replace(true) || further > 0;
        if again && walk::node_is_volatile(&self.node) {
            return Err(SqlError::unsupported("reading a WITH query that calls volatile functions more than once"));
        }
        Ok(())
    }
}

/// Finds a WITH query by name.
pub fn find_cte(mut list: Option<&Rc<Cte>>, name: &str) -> Option<Rc<Cte>> {
    while let Some(cte) = list {
        if cte.name == name {
            return Some(Rc::clone(cte));
        }
        list = cte.next.as_ref();
    }
    None
}

impl<'p> Scope<'p> {
    /// An empty scope inside another.
    pub fn inside(parent: Option<&'p Scope<'p>>, ctes: Option<Rc<Cte>>) -> Self {
        Self { parent, ctes, ..Self::default() }
    }

    /// Scopes from here to the outermost.
    pub fn level(&self) -> usize {
        1 + self.parent.map_or(0, Scope::level)
    }

    /// Adds a relation whose columns follow those already there; 42712 if its name is taken.
    pub fn add(&mut self, mut relation: Relation, position: Option<u32>) -> SqlResult<()> {
        // Only tables that go by their own names may share one, being of different schemas.
        let apart = |other: &Relation| other.schema.is_some() && relation.schema.is_some() && other.schema != relation.schema;
        let taken = self
            .relations
            .iter()
            .any(|other| other.name == relation.name && !other.unnamed && !relation.unnamed && !apart(other));
        if taken {
            let message = format!("table name \"{}\" specified more than once", relation.name);
            return Err(at(SqlError::new(SqlState::DUPLICATE_ALIAS, message), position));
        }
        for column in &mut relation.columns {
            column.index = self.width;
            self.width += 1;
        }
        self.relations.push(relation);
        Ok(())
    }

    /// Resolves `column` or `relation.column` here and outwards.
    pub fn resolve(&self, parts: &[String], position: Option<u32>) -> SqlResult<Typed> {
        let (mut scope, mut depth) = (self, 0);
        loop {
            if let Some(found) = scope.resolve_here(parts, position)? {
                return Ok(outward(found, depth, position));
            }
            match scope.parent {
                Some(parent) => scope = parent,
                None => return Err(self.undefined(parts, position)),
            }
            depth += 1;
        }
    }

    fn resolve_here(&self, parts: &[String], position: Option<u32>) -> SqlResult<Option<Typed>> {
        match parts {
            [column] => self.unqualified(column, position),
            [relation, column] => self.qualified(None, relation, column, position),
            [schema, relation, column] => self.qualified(Some(schema), relation, column, position),
            _ => Err(at(SqlError::unsupported("a reference to another database"), position)),
        }
    }

    fn unqualified(&self, name: &str, position: Option<u32>) -> SqlResult<Option<Typed>> {
        let mut found: Option<Typed> = self.merged.iter().find(|(merged, _)| merged == name).map(|(_, value)| value.clone());
        for relation in &self.relations {
            for (number, column) in
                relation.columns.iter().enumerate().filter(|(_, column)| column.name == name && !column.merged)
            {
                relation.select(number);
                if found.is_some() {
                    let message = format!("column reference \"{name}\" is ambiguous");
                    return Err(at(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message), position));
                }
                found = Some(Typed::new(Expr::Column(column.index, column.ty), column.ty));
            }
        }
        Ok(found)
    }

    fn qualified(&self, schema: Option<&str>, relation: &str, name: &str, position: Option<u32>) -> SqlResult<Option<Typed>> {
        let fits = |candidate: &&Relation| {
            candidate.name == relation && !candidate.unnamed && (schema.is_none() || candidate.schema.as_deref() == schema)
        };
        let mut candidates = self.relations.iter().filter(fits);
        let Some(first) = candidates.next() else { return Ok(None) };
        if candidates.next().is_some() {
            let message = format!("table reference \"{relation}\" is ambiguous");
            return Err(at(SqlError::new(SqlState(*b"42P09"), message), position));
        }
        let mut columns = first.columns.iter().enumerate().filter(|(_, column)| column.name == name);
        match (columns.next(), columns.next()) {
            (Some((number, column)), None) => {
                first.select(number);
                Ok(Some(Typed::new(Expr::Column(column.index, column.ty), column.ty)))
            }
            (Some(_), Some(_)) => {
                let message = format!("column reference \"{name}\" is ambiguous");
                Err(at(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message), position))
            }
            (None, _) => {
                let message = format!("column {relation}.{name} does not exist");
                Err(at(SqlError::new(SqlState::UNDEFINED_COLUMN, message), position))
            }
        }
    }

    /// 42703, or 42P01 for an unknown relation, with PostgreSQL's hints.
    fn undefined(&self, parts: &[String], position: Option<u32>) -> SqlError {
        if let [.., relation, _] = parts {
            let message = format!("missing FROM-clause entry for table \"{relation}\"");
            return at(SqlError::new(SqlState::UNDEFINED_TABLE, message), position);
        }
        let name = &parts[parts.len() - 1];
        let error = SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"));
        let error = match self.closest(name) {
            Some((relation, column)) => error.hint(format!("Perhaps you meant to reference the column \"{relation}.{column}\".")),
            None => error,
        };
        at(error, position)
    }

    /// The one column whose name is nearest, if it is near enough (at most half of the letters differ, and three).
    fn closest(&self, name: &str) -> Option<(String, String)> {
        let mut best: Option<(usize, String, String)> = None;
        let mut tied = false;
        for relation in self.relations.iter().filter(|relation| !relation.unnamed) {
            for column in &relation.columns {
                let distance = edit_distance(name, &column.name);
                let near = distance <= 3 && distance * 2 <= name.len().max(1);
                match &best {
                    _ if !near => {}
                    Some((least, ..)) if distance > *least => {}
                    Some((least, ..)) if distance == *least => tied = true,
                    _ => {
                        best = Some((distance, relation.name.clone(), column.name.clone()));
                        tied = false;
                    }
                }
            }
        }
        best.filter(|_| !tied).map(|(_, relation, column)| (relation, column))
    }

    /// The relation of a name, for `name.*` and whole-row references.
    pub fn relation(&self, schema: Option<&str>, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|relation| {
            relation.name == name && !relation.unnamed && (schema.is_none() || relation.schema.as_deref() == schema)
        })
    }

    /// The relation that a column of the row belongs to.
    pub fn relation_at(&self, index: usize) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.columns.iter().any(|column| column.index == index))
    }
}

/// The value as seen from `depth` scopes further in.
fn outward(found: Typed, depth: usize, position: Option<u32>) -> Typed {
    let expr = if depth == 0 { found.expr } else { walk::outward(found.expr, depth) };
    Typed { expr, ty: found.ty, position }
}

/// Levenshtein distance with unit costs.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
