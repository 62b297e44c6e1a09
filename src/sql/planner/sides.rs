//! Which side of a join is held in memory: the one that is estimated to take fewer bytes there.

use crate::sql::context::BindContext;
use crate::sql::estimate::Estimator;
use crate::sql::expr::walk;
use crate::sql::plan::{Join, Node};

/// Bytes that a row takes besides its values, about.
const ROW_BYTES: f64 = 32.0;

/// Chooses for every hash join of a tree; subqueries in expressions are planned on their own.
pub fn choose(node: &mut Node, context: &BindContext<'_>) {
    walk::for_each_input_mut(node, &mut |input| choose(input, context));
    let Node::Join(join) = node else { return };
    if join.equal.is_empty() || join.lateral {
        // Nested loops hold the right side.
        return;
    }
    join.hash_left = left_is_smaller(join, &Estimator::new(context.catalog, context.session));
}

fn left_is_smaller(join: &Join, estimator: &Estimator<'_>) -> bool {
    let bytes = |side: &Node| estimator.rows(side) * (estimator.width(side) + ROW_BYTES);
    bytes(&join.left) < bytes(&join.right)
}
