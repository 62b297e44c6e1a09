//! SET ROLE and SET SESSION AUTHORIZATION: who may become whom.
//!
//! Both are settings, so that they are set, reset and rolled back like any other; what is particular is that their values are roles. A role
//! is looked up when the value is set, and the setting then keeps its number: renaming it changes nothing, and of one that is dropped
//! meanwhile nothing is left but that it had no privileges.

use crate::catalog::Catalog;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::session::settings::{Authority, Settings};

/// The role that a value of a setting stands for; `None` where it is none, or the setting is another.
///
/// Errors: 22023 for a role that does not exist, 42501 for one that the session may not become.
pub fn resolve(name: &str, value: &str, catalog: &Catalog, settings: &Settings) -> SqlResult<Option<Authority>> {
    let session = match name {
        "role" if value == "none" => return Ok(None),
        "role" => false,
        "session_authorization" => true,
        _ => return Ok(None),
    };
    let missing = || SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("role \"{value}\" does not exist"));
    let role = catalog.role_named(value).ok_or_else(missing)?;
    let denied = |message: String| Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
    let (login, own) = (settings.login(), settings.effective().session.role);
    if session && role.oid != login.role && !login.superuser {
        return denied("permission denied to set session authorization".to_owned());
    }
    if !session && !catalog.is_superuser(own) && !catalog.is_member(own, role.oid) {
        return denied(format!("permission denied to set role \"{value}\""));
    }
    Ok(Some(Authority { role: role.oid, superuser: role.superuser }))
}
