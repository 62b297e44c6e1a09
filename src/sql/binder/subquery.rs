//! Subqueries in expressions.

use std::sync::Arc;

use sqlparser::ast::{self, Expr as Ast};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::expr::{Place, position};
use crate::sql::binder::names::at;
use crate::sql::binder::operators::{operator_error, unnest};
use crate::sql::binder::query::Bound;
use crate::sql::binder::{Binder, Typed, plain, types};
use crate::sql::expr::{Expr, Subquery, SubqueryKind, walk};
use crate::sql::function::resolve;
use crate::sql::plan::Node;
use crate::types::{CastContext, SqlType};

impl Binder<'_> {
    fn subquery(&self, query: &ast::Query, place: Place<'_>) -> SqlResult<Bound> {
        let bound = self.query(query, Some(place.scope), place.scope.ctes.clone(), None)?;
        if let Some(collector) = place.collector.filter(|_| !place.in_aggregate) {
            // Columns of this query inside the subquery are subject to its GROUP BY too.
            let mut plan = bound.node.clone();
            walk::rewrite_node(&mut plan, 1, &mut |reference| {
                if reference.depth == 0 {
                    collector.borrow_mut().note_column(reference.index, Vec::new(), None);
                }
                None
            });
        }
        Ok(bound)
    }

    fn one_column(&self, query: &ast::Query, bound: &Bound) -> SqlResult<()> {
        if bound.columns.len() == 1 {
            return Ok(());
        }
        let error = SqlError::new(SqlState::SYNTAX_ERROR, "subquery must return only one column");
        Err(at(error, crate::sql::parser::position_of(sqlparser::ast::Spanned::span(query))))
    }

    /// `(SELECT …)` as a value.
    pub fn scalar_subquery(&self, query: &ast::Query, place: Place<'_>) -> SqlResult<Typed> {
        let bound = self.subquery(query, place)?;
        self.one_column(query, &bound)?;
        let ty = bound.columns[0].ty;
        Ok(Typed::new(wrap(SubqueryKind::Scalar, bound.node, ty.ty), ty))
    }

    /// EXISTS.
    pub fn exists(&self, query: &ast::Query, negated: bool, place: Place<'_>) -> SqlResult<Typed> {
        let bound = self.subquery(query, place)?;
        let exists = wrap(SubqueryKind::Exists, bound.node, SqlType::Bool);
        Ok(Typed::plain(if negated { Expr::Not(Box::new(exists)) } else { exists }, SqlType::Bool))
    }

    /// `ARRAY(SELECT …)`.
    pub fn array_subquery(&self, query: &ast::Query, place: Place<'_>) -> SqlResult<Typed> {
        let bound = self.subquery(query, place)?;
        self.one_column(query, &bound)?;
        let ty = bound.columns[0].ty.ty;
        let Some(element) = types::element_of(ty) else {
            let message = format!("could not find array type for data type {}", ty.name());
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
        };
        let ty = SqlType::Array(element);
        Ok(Typed::plain(wrap(SubqueryKind::Array, bound.node, ty), ty))
    }

    /// `value IN (SELECT …)`: both sides cast as `=` wants them.
    pub fn in_subquery(&self, value: &Ast, query: &ast::Query, negated: bool, place: Place<'_>) -> SqlResult<Typed> {
        let start = position(value);
        if matches!(unnest(value), Ast::Tuple(_)) {
            return Err(at(SqlError::unsupported("IN of a row and a subquery"), start));
        }
        let value = self.expr(value, place)?.at(start);
        let bound = self.subquery(query, place)?;
        if bound.columns.len() != 1 {
            let few = if bound.columns.is_empty() { "few" } else { "many" };
            return Err(at(SqlError::new(SqlState::SYNTAX_ERROR, format!("subquery has too {few} columns")), start));
        }
        let column = bound.columns[0].ty;
        let pair = [value.ty.ty, column.ty];
        let resolved = resolve::operator("=", &pair).map_err(|failure| at(operator_error("=", &pair, failure), start))?;
        // Looking up needs one type on both sides: the wider of an operator on two types.
        let [left, right] = resolved.signature.args[..] else { return Err(SqlError::internal("= takes two arguments")) };
        let common = crate::sql::function::coercion::common_type([left, right])
            .map_err(|_| at(operator_error("=", &pair, resolve::Failure::NoMatch), start))?;
        let value = self.coerce_implicit(value, common)?;
        let item = Typed::new(Expr::Column(0, column), column);
        let item = self
            .try_coerce(item, plain(common), CastContext::Implicit)?
            .ok_or_else(|| at(operator_error("=", &pair, resolve::Failure::NoMatch), start))?;
        let node = match item.expr {
            Expr::Column(..) => bound.node,
            cast => Node::Project { input: Box::new(bound.node), exprs: vec![cast] },
        };
        let found = wrap(SubqueryKind::In(Box::new(value.expr)), node, SqlType::Bool);
        Ok(Typed::plain(if negated { Expr::Not(Box::new(found)) } else { found }, SqlType::Bool).at(start))
    }
}

fn wrap(kind: SubqueryKind, plan: Node, ty: SqlType) -> Expr {
    let correlated = walk::node_refers_outside(&plan);
    Expr::Subquery(Arc::new(Subquery { kind, plan, correlated, ty }))
}
