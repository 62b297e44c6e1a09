//! Prepared statements: what Parse and PREPARE leave behind, and what point lookups need ready.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::base::StorageId;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::session::formats::{FormatCodes, integer};
use crate::session::response::RowShape;
use crate::sql::ddl::Ddl;
use crate::sql::expr::Expr;
use crate::sql::plan::{Plan, PointSelect, Statement};
use crate::sql::utility::Utility;
use crate::storage::Key;
use crate::types::{RowLayout, SqlType};

/// Prepared statements of one client.
const STATEMENTS_MAX: usize = 10_000;

/// Result formats remembered for one statement; clients use one or two.
const SHAPES_MAX: usize = 4;

/// A bound statement with what its executions share.
#[derive(Debug)]
pub struct Prepared {
    /// The text it came from; it is bound again from this when the catalog changes.
    pub text: Arc<str>,
    /// The plan; `None` for an empty query string.
    pub statement: Option<Arc<Statement>>,
    /// The settings' epoch it was bound in.
    pub plan_epoch: u64,
    /// The fast way, where there is one.
    pub point: Option<PointPlan>,
    /// The result in text format, which is what most clients want.
    pub text_shape: Arc<RowShape>,
}

impl Prepared {
    /// A statement just bound.
    pub fn new(text: Arc<str>, statement: Option<Arc<Statement>>, plan_epoch: u64) -> Self {
        // One that is refused goes the ordinary way, where that is said.
        let allowed = statement.as_ref().filter(|statement| statement.refusal.is_none());
        let point = allowed.and_then(|statement| PointPlan::of(statement));
        let columns = statement.as_ref().map_or(&[][..], |statement| &statement.columns);
        let text_shape = Arc::new(RowShape::text(columns));
        Self { text, statement, plan_epoch, point, text_shape }
    }

    /// The types of its parameters.
    pub fn params(&self) -> &[SqlType] {
        self.statement.as_ref().map_or(&[], |statement| &statement.params)
    }

    /// Whether the plan is still good.
    #[inline]
    pub fn is_current(&self, catalog_version: u64, plan_epoch: u64) -> bool {
        match &self.statement {
            Some(statement) => {
                // A statement about roles or privileges names them, and its text may be gone.
                matches!(statement.plan, Plan::Ddl(Ddl::Role(_) | Ddl::Privileges(_)))
                    || statement.catalog_version == catalog_version && (self.plan_epoch == plan_epoch || self.is_utility())
            }
            None => true,
        }
    }

    /// Whether it is a utility in which nothing is bound.
    fn is_utility(&self) -> bool {
        self.utility().is_some_and(Utility::is_of_session)
    }

    /// The statement's utility, if it is one.
    pub fn utility(&self) -> Option<&Utility> {
        match self.statement.as_deref() {
            Some(Statement { plan: Plan::Utility(utility), .. }) => Some(utility),
            _ => None,
        }
    }

    /// Whether a failed transaction block still runs it.
    pub fn ends_failed_block(&self) -> bool {
        self.utility().is_some_and(Utility::ends_failed_block)
    }
}

/// A lookup by full primary key, prepared down to where the key comes from.
#[derive(Debug)]
pub struct PointPlan {
    /// Where the rows are.
    pub storage: StorageId,
    /// How they are laid out.
    pub layout: Arc<RowLayout>,
    /// The parameter that is the whole key, an integer, if it is one.
    pub key_param: Option<(usize, SqlType)>,
}

impl PointPlan {
    fn of(statement: &Statement) -> Option<Self> {
        let Plan::Query(query) = &statement.plan else {
            return None;
        };
        let point = query.point.as_ref().filter(|_| query.locking.is_none())?;
        Some(Self { storage: point.table.storage, layout: Arc::clone(point.table.layout()), key_param: key_param(point) })
    }

    /// The key, if it is a plain integer parameter with an ordinary value.
    #[inline]
    pub fn plain_key<'a>(&self, codes: FormatCodes<'_>, mut params: impl Iterator<Item = Option<&'a [u8]>>) -> Option<Key> {
        let (index, ty) = self.key_param?;
        integer(ty, codes.of(index), params.nth(index)??).map(Key::Int)
    }
}

/// The point lookup of a statement that has a [`PointPlan`].
pub fn point_of(statement: &Statement) -> &PointSelect {
    match &statement.plan {
        Plan::Query(query) => query.point.as_ref().expect("a point plan is made from a point lookup"),
        _ => panic!("a point plan is made from a query"),
    }
}

/// The parameter that is the key: one integer column compared with a parameter of an integer type, widened or as it is.
fn key_param(point: &PointSelect) -> Option<(usize, SqlType)> {
    let [expr] = point.key.as_slice() else {
        return None;
    };
    let [column] = point.table.primary_key.as_ref()?.columns.as_slice() else {
        return None;
    };
    let column_type = point.table.columns[*column].ty.ty;
    let (index, ty) = match expr {
        Expr::Param(index, ty) => (*index, *ty),
        Expr::Cast { arg, to, .. } if to.ty == column_type => match &**arg {
            Expr::Param(index, ty) => (*index, *ty),
            _ => return None,
        },
        _ => return None,
    };
    let width = |ty| match ty {
        SqlType::Int2 => Some(2),
        SqlType::Int4 => Some(4),
        SqlType::Int8 => Some(8),
        _ => None,
    };
    // A narrowing cast may overflow, which is the ordinary path's to report.
    (width(ty)? <= width(column_type)?).then_some((index, ty))
}

/// Format codes and the result they make.
type KnownShape = (Box<[i16]>, Arc<RowShape>);

/// What is kept of a statement while its client has no session: enough to plan it again, which is little and seldom its own.
#[derive(Debug)]
pub struct Recipe {
    /// Its text.
    pub text: Arc<str>,
    /// The types of its parameters, which the client knows.
    pub params: Box<[SqlType]>,
    /// The result, which the client knows as well.
    pub shape: Arc<RowShape>,
    /// The plan of a statement whose text is kept from everybody.
    pub plan: Option<Arc<Prepared>>,
}

impl Recipe {
    fn of(prepared: &Arc<Prepared>) -> Self {
        let secret = prepared.statement.as_ref().is_some_and(|statement| statement.holds_secret());
        Self {
            text: Arc::clone(&prepared.text),
            params: prepared.params().into(),
            shape: Arc::clone(&prepared.text_shape),
            plan: secret.then(|| Arc::clone(prepared)),
        }
    }
}

/// A prepared statement with the result formats that have been asked of it.
#[derive(Debug)]
pub struct Entry {
    /// The statement.
    pub prepared: Arc<Prepared>,
    shapes: SmallVec<[KnownShape; 1]>,
    /// What it was planned from, if it has slept.
    recipe: Option<Arc<Recipe>>,
}

impl Entry {
    /// A statement nobody has executed yet.
    pub fn new(prepared: Arc<Prepared>) -> Self {
        Self { prepared, shapes: SmallVec::new(), recipe: None }
    }

    /// Replaces the plan by a newer one.
    pub fn replace(&mut self, prepared: Arc<Prepared>) {
        self.prepared = prepared;
        self.shapes.clear();
    }

    /// The result in these formats.
    #[inline]
    pub fn shape(&mut self, codes: FormatCodes<'_>) -> SqlResult<Arc<RowShape>> {
        if codes.is_empty() || (codes.len() == 1 && codes.of(0) == 0) {
            return Ok(Arc::clone(&self.prepared.text_shape));
        }
        if let Some((_, shape)) = self.shapes.iter().find(|(known, _)| codes.iter().eq(known.iter().copied())) {
            return Ok(Arc::clone(shape));
        }
        let shape = Arc::new(RowShape::new(&self.prepared.text_shape.columns, codes.iter())?);
        if self.shapes.len() == SHAPES_MAX {
            self.shapes.remove(0);
        }
        self.shapes.push((codes.iter().collect(), Arc::clone(&shape)));
        Ok(shape)
    }
}

/// The prepared statements of a client.
#[derive(Debug, Default)]
pub struct Statements {
    unnamed: Option<Entry>,
    named: FxHashMap<Box<str>, Entry>,
    /// Those that have not been used since the client got its session; the unnamed one by an empty name.
    asleep: FxHashMap<Box<str>, Arc<Recipe>>,
}

impl Statements {
    /// The statement of a name; 26000 if there is none that is awake.
    #[inline]
    pub fn get_mut(&mut self, name: &str) -> SqlResult<&mut Entry> {
        let found = if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) };
        found.ok_or_else(|| missing(name))
    }

    /// Adds a statement; an unnamed one replaces its predecessor. 42P05 for a name in use, 53400 for too many.
    pub fn insert(&mut self, name: &str, entry: Entry) -> SqlResult<()> {
        if name.is_empty() {
            self.asleep.remove(name);
            self.unnamed = Some(entry);
            return Ok(());
        }
        self.check_free(name)?;
        if self.len() >= STATEMENTS_MAX {
            let message = format!("too many prepared statements: the limit is {STATEMENTS_MAX}");
            return Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        self.named.insert(name.into(), entry);
        Ok(())
    }

    /// 42P05 if the name is in use.
    pub fn check_free(&self, name: &str) -> SqlResult<()> {
        if self.named.contains_key(name) || self.asleep.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        }
        Ok(())
    }

    /// Removes a statement, if it is there (Close and the replacement of the unnamed one do not mind).
    pub fn remove(&mut self, name: &str) -> bool {
        let slept = !self.asleep.is_empty() && self.asleep.remove(name).is_some();
        let awake = if name.is_empty() { self.unnamed.take().is_some() } else { self.named.remove(name).is_some() };
        slept || awake
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.named.clear();
        self.unnamed = None;
        self.asleep.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.named.len() + self.asleep.len() + usize::from(self.unnamed.is_some())
    }

    /// The client gives its session back: plans stay behind.
    pub fn fall_asleep(&mut self) {
        let unnamed = self.unnamed.take().map(|entry| ("".into(), entry));
        for (name, entry) in std::mem::take(&mut self.named).into_iter().chain(unnamed) {
            let recipe = entry.recipe.unwrap_or_else(|| Arc::new(Recipe::of(&entry.prepared)));
            self.asleep.insert(name, recipe);
        }
    }

    /// What a statement is to be planned from, if it sleeps.
    #[inline]
    pub fn asleep(&self, name: &str) -> Option<&Arc<Recipe>> {
        if self.asleep.is_empty() { None } else { self.asleep.get(name) }
    }

    /// It has been planned.
    pub fn wake(&mut self, name: &str, prepared: Arc<Prepared>) {
        let (name, recipe) = self.asleep.remove_entry(name).expect("only what sleeps can be woken");
        let entry = Entry { recipe: Some(recipe), ..Entry::new(prepared) };
        if name.is_empty() {
            self.unnamed = Some(entry);
        } else {
            self.named.insert(name, entry);
        }
    }
}

/// 26000.
pub fn missing(name: &str) -> SqlError {
    let message = match name {
        "" => "unnamed prepared statement does not exist".to_owned(),
        name => format!("prepared statement \"{name}\" does not exist"),
    };
    SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
}
