//! The first role: made by the first start, and given its password by the first start that knows one.
//!
//! Without a password the server is *open*: rules of trust let everybody in who can connect, and a user name that is no role
//! stands for the bootstrap superuser (see `wire::authentication`). That is said in the log at every start.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::auth::{SALT_BYTES, Secret, Verifier, random_bytes};
use crate::catalog::{BOOTSTRAP_ROLE, CatalogStore, Object, RoleDef};
use crate::config::Config;
use crate::error::SqlError;
use crate::exec::programs::Overwrite;
use crate::shard::{CATALOG_STORAGE, Engine, OnExisting};
use crate::storage::Key;
use crate::txn::Isolation;

/// Makes the role of the first start, or gives it a password, as an ordinary transaction. `recovered`: whether the catalog's rows
/// had the role.
pub async fn ensure(engine: &Engine, store: &CatalogStore, recovered: bool, config: &Config) -> Result<(), String> {
    let catalog = store.current();
    let existing = catalog.roles.get(&BOOTSTRAP_ROLE).filter(|_| recovered);
    let has_password = existing.is_some_and(|role| role.verifier.is_some());
    if has_password {
        if config.superuser_password.is_some() || config.superuser_password_file.is_some() {
            tracing::info!("the superuser has a password already: the one configured is not looked at");
        }
        return Ok(());
    }
    let password = password(config)?;
    if existing.is_some() && password.is_none() {
        return Ok(());
    }
    let verifier = match password {
        // Nobody is served yet: there is nobody to make room for.
        Some(password) => {
            let salt: [u8; SALT_BYTES] = random_bytes();
            Some(Verifier::derive(password.expose(), &salt, config.scram_iterations))
        }
        None => None,
    };
    let role = match existing {
        Some(role) => RoleDef { verifier, ..RoleDef::clone(role) },
        None => RoleDef::bootstrap(&config.superuser, verifier),
    };
    write(engine, &Object::Role(Box::new(role))).await.map_err(|error| format!("the superuser cannot be created: {error}"))
}

async fn write(engine: &Engine, object: &Object) -> Result<(), String> {
    let mut txn = engine.begin(Isolation::ReadCommitted, false);
    let view = engine.write_view(&mut txn);
    let bytes = object.encode();
    let row = (Key::Int(object.key()), bytes.clone());
    let existing = OnExisting::Update(Arc::new(Overwrite(bytes)));
    engine
        .insert_rows(&mut txn, &view, CATALOG_STORAGE, vec![row], existing)
        .await
        .map_err(|error| SqlError::from(error).to_string())?;
    engine.commit(txn).await.map(drop).map_err(|error| SqlError::from(error).to_string())
}

/// The password that was configured.
fn password(config: &Config) -> Result<Option<Secret>, String> {
    match (&config.superuser_password_file, &config.superuser_password) {
        (Some(path), _) => read(path).map(Some),
        (None, password) => Ok(password.clone()),
    }
}

/// The first line of a file.
fn read(path: &Path) -> Result<Secret, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("the superuser's password file {} cannot be read: {error}", path.display()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(format!("the superuser's password file {} has no password in its first line", path.display()));
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        for (text, expected) in [("a b\r\nc", Some("a b")), ("x", Some("x")), ("", None), ("\nx", None)] {
            fs::write(file.path(), text).expect("it can be written");
            assert_eq!(read(file.path()).ok(), expected.map(Secret::new), "{text:?}");
        }
        assert!(read(Path::new("/nonexistent")).unwrap_err().contains("/nonexistent"));
    }
}
