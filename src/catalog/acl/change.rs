//! GRANT and REVOKE on one list.
//!
//! A privilege that somebody has passed on by his option to grant it depends on that option: when he loses it, the privilege is taken
//! back from those he gave it to (CASCADE), or he does not lose it (RESTRICT). Options must not go round in circles, or a circle would
//! keep itself alive after its source is gone.

use super::{Acl, AclItem, ITEMS_MAX, PUBLIC_ROLE, Privileges};
use crate::base::Oid;
use crate::catalog::model::Catalog;
use crate::error::{SqlError, SqlResult, SqlState};

/// What a GRANT or REVOKE does to a list.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// GRANT.
    pub grant: bool,
    /// WITH GRANT OPTION, or GRANT OPTION FOR.
    pub option: bool,
    /// CASCADE, of REVOKE.
    pub cascade: bool,
    /// Which.
    pub privileges: Privileges,
}

/// What changing a list depends on besides.
struct Surroundings<'a> {
    owner: Oid,
    cascade: bool,
    catalog: &'a Catalog,
}

/// 0LP01.
fn invalid(message: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_GRANT_OPERATION, message)
}

impl Acl {
    /// The list after a GRANT or REVOKE by `grantor`, of an object of `owner`.
    ///
    /// Errors: 0LP01 for options to PUBLIC or back to whom they come from, 2BP01 for a REVOKE on which others depend, 54000 for too many
    /// items.
    pub fn changed(&self, change: Change, grantees: &[Oid], grantor: Oid, owner: Oid, catalog: &Catalog) -> SqlResult<Self> {
        let around = Surroundings { owner, cascade: change.cascade, catalog };
        let mut items = self.0.clone();
        for &grantee in grantees {
            if change.grant && change.option && grantee == PUBLIC_ROLE {
                return Err(invalid("grant options can only be granted to roles"));
            }
            // Granting with the option grants the privilege as well. Revoking it takes the option away too, but not the other way round.
            let of = |applies: bool| if applies { change.privileges } else { Privileges::NONE };
            let (privileges, options) = (of(change.grant || !change.option), of(!change.grant || change.option));
            let item = AclItem { grantee, grantor, privileges, options };
            if change.grant { add(&mut items, item, &around)? } else { take(&mut items, item, &around)? }
        }
        if items.len() > ITEMS_MAX {
            let message = format!("privileges on one object are limited to {ITEMS_MAX} grantees and grantors");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        Ok(Self(items))
    }

    /// With all that another list grants.
    pub fn merged(&self, other: &Acl, owner: Oid, catalog: &Catalog) -> SqlResult<Self> {
        let around = Surroundings { owner, cascade: false, catalog };
        let mut items = self.0.clone();
        other.0.iter().try_for_each(|item| add(&mut items, *item, &around))?;
        Ok(Self(items))
    }
}

fn place(items: &[AclItem], item: &AclItem) -> Option<usize> {
    items.iter().position(|other| (other.grantee, other.grantor) == (item.grantee, item.grantor))
}

/// Grants what an item says.
fn add(items: &mut Vec<AclItem>, item: AclItem, around: &Surroundings<'_>) -> SqlResult<()> {
    if !item.options.is_empty() {
        check_circularity(items, &item, around)?;
    }
    match place(items, &item) {
        Some(at) => {
            items[at].privileges = items[at].privileges.with(item.privileges);
            items[at].options = items[at].options.with(item.options);
        }
        None if item.privileges.with(item.options).is_empty() => {}
        None => items.push(item),
    }
    Ok(())
}

/// Takes away what an item says, and what depends on it.
fn take(items: &mut Vec<AclItem>, item: AclItem, around: &Surroundings<'_>) -> SqlResult<()> {
    let mut lost = Vec::from_iter(subtract(items, &item));
    while let Some((role, options)) = lost.pop() {
        // The owner never loses options, and others may have some of them from somebody else.
        if role == around.owner {
            continue;
        }
        let left = Acl::options_among(items, role, around.owner, around.catalog);
        let gone = options.without(left);
        while let Some(at) = items.iter().position(|item| item.grantor == role && item.privileges.intersects(gone)) {
            if !around.cascade {
                let error = SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "dependent privileges exist");
                return Err(error.hint("Use CASCADE to revoke them too."));
            }
            let dependent = AclItem { privileges: gone, options: gone, ..items[at] };
            lost.extend(subtract(items, &dependent));
        }
    }
    Ok(())
}

/// Takes away what an item says. Answers who lost which options.
fn subtract(items: &mut Vec<AclItem>, item: &AclItem) -> Option<(Oid, Privileges)> {
    let at = place(items, item)?;
    let old = items[at];
    let new = AclItem { privileges: old.privileges.without(item.privileges), options: old.options.without(item.options), ..old };
    if new.privileges.with(new.options).is_empty() {
        items.remove(at);
    } else {
        items[at] = new;
    }
    let lost = old.options.without(new.options);
    (!lost.is_empty()).then_some((old.grantee, lost))
}

/// 0LP01 if the grantor would have an option only through whom he grants it to.
fn check_circularity(items: &[AclItem], new: &AclItem, around: &Surroundings<'_>) -> SqlResult<()> {
    if new.grantor == around.owner {
        return Ok(());
    }
    let around = Surroundings { cascade: true, ..*around };
    let mut without = items.to_vec();
    while let Some(at) = without.iter().position(|item| item.grantee == new.grantee && !item.options.is_empty()) {
        let item = without[at];
        take(&mut without, item, &around)?;
    }
    let own = Acl::options_among(&without, new.grantor, around.owner, around.catalog);
    if own.contains(new.options) { Ok(()) } else { Err(invalid("grant options cannot be granted back to your own grantor")) }
}
