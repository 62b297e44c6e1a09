//! Who a client is, and what it may do.
//!
//! **An open server** is one whose bootstrap superuser has no password: nobody has told it yet who may come in. Where a client is
//! trusted, a user name that is no role stands for the bootstrap superuser there, so that tools which log in as whoever runs them
//! work at once. Giving the superuser a password ends it.

use crate::base::Oid;
use crate::catalog::{BOOTSTRAP_ROLE, Catalog};
use crate::error::{SqlError, SqlResult, SqlState};

/// The role of a user that is who it says.
///
/// Errors: 28000 for a user that is none, or that may not log in.
pub fn role_of(user: &str, catalog: &Catalog) -> SqlResult<Oid> {
    let refused = |why| Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, why));
    match catalog.role_named(user) {
        Some(role) if role.login => Ok(role.oid),
        Some(_) => refused(format!("role \"{user}\" is not permitted to log in")),
        None if is_open(catalog) => Ok(BOOTSTRAP_ROLE),
        None => refused(format!("role \"{user}\" does not exist")),
    }
}

/// Whether the bootstrap superuser has no password.
fn is_open(catalog: &Catalog) -> bool {
    catalog.roles.get(&BOOTSTRAP_ROLE).is_some_and(|role| role.verifier.is_none())
}
