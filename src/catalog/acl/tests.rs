//! Lists as PostgreSQL 15 changes and shows them.

use super::ask::Holder;
use super::change::Change;
use super::*;
use crate::catalog::{Membership, Object, RoleDef};
use crate::error::SqlState;

/// Roles 100 (the owner) to 105; 103 is a member of 102, and 104 of 102 without inheriting.
fn catalog() -> Catalog {
    let mut catalog = Catalog::bootstrap();
    for (oid, name) in [(100, "owner"), (101, "a"), (102, "b"), (103, "c"), (104, "D d"), (105, "e")] {
        let member_of = match oid {
            103 | 104 => vec![Membership { role: Oid(102), grantor: Oid(10), admin: false }],
            _ => Vec::new(),
        };
        let role = RoleDef { inherit: oid != 104, member_of, ..RoleDef::new(Oid(oid), name) };
        catalog.put(Object::Role(Box::new(role)));
    }
    catalog
}

const OWNER: Oid = Oid(100);

fn shown(acl: &Acl) -> String {
    acl.texts(&catalog()).collect::<Vec<_>>().join(" ")
}

/// Applies `grantor: GRANT|REVOKE privileges [*] TO|FROM grantee`, where a star is the option, to a table's list; a refusal's message.
fn run(acl: &mut Acl, by: u32, text: &str) -> Result<(), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (verb, privilege, grantee) = (words[0], words[1].trim_end_matches('*'), words[2].parse().unwrap());
    let change = Change {
        grant: verb == "grant",
        option: words[1].ends_with('*'),
        cascade: words.contains(&"cascade"),
        privileges: if privilege == "all" { ObjectKind::Table.all() } else { Privileges::named(privilege).unwrap() },
    };
    let catalog = catalog();
    let (grantor, available) = acl.grantor(Oid(by), change.privileges, OWNER, &catalog);
    let change = Change { privileges: change.privileges.and(available), ..change };
    match acl.changed(change, &[Oid(grantee)], grantor, OWNER, &catalog) {
        Ok(changed) => *acl = changed,
        Err(error) => return Err(error.message().to_owned()),
    }
    Ok(())
}

#[test]
fn grants_are_passed_on_and_taken_back_with_what_depends_on_them() {
    let mut acl = Acl::default_of(ObjectKind::Table, OWNER);
    for (by, text, expected) in [
        (100, "grant select* 101", "owner=arwdDxt/owner a=r*/owner"),
        (101, "grant select* 102", "owner=arwdDxt/owner a=r*/owner b=r*/a"),
        (103, "grant select 105", "owner=arwdDxt/owner a=r*/owner b=r*/a e=r/b"),
        (104, "grant select 105", "owner=arwdDxt/owner a=r*/owner b=r*/a e=r/b"),
        (10, "grant insert 104", "owner=arwdDxt/owner a=r*/owner b=r*/a e=r/b \"D d\"=a/owner"),
        (102, "grant select* 101", "grant options cannot be granted back to your own grantor"),
        (102, "grant select 101", "owner=arwdDxt/owner a=r*/owner b=r*/a e=r/b \"D d\"=a/owner a=r/b"),
        (100, "revoke select* 101", "dependent privileges exist"),
        (100, "revoke select 105", "owner=arwdDxt/owner a=r*/owner b=r*/a e=r/b \"D d\"=a/owner a=r/b"),
        (100, "revoke select* 101 cascade", "owner=arwdDxt/owner a=r/owner \"D d\"=a/owner"),
        (100, "grant update* 0", "grant options can only be granted to roles"),
        (100, "grant update 0", "owner=arwdDxt/owner a=r/owner \"D d\"=a/owner =w/owner"),
        (100, "revoke all 100", "a=r/owner \"D d\"=a/owner =w/owner"),
        (100, "revoke select 101", "\"D d\"=a/owner =w/owner"),
        (100, "grant all 100", "\"D d\"=a/owner =w/owner owner=arwdDxt/owner"),
    ] {
        let answer = run(&mut acl, by, text).err().unwrap_or_else(|| shown(&acl));
        assert_eq!(answer, expected, "{by}: {text}");
    }
}

/// Two grantors of the same option: what depends on it goes with the second of them.
#[test]
fn an_option_from_somebody_else_keeps_what_depends_on_it() {
    let mut acl = Acl::default_of(ObjectKind::Table, OWNER);
    for (by, text) in [
        (100, "grant select* 101"),
        (100, "grant select* 102"),
        (101, "grant select* 105"),
        (102, "grant select* 105"),
        (105, "grant select 104"),
        (100, "revoke select 101 cascade"),
    ] {
        run(&mut acl, by, text).unwrap();
    }
    assert_eq!(shown(&acl), "owner=arwdDxt/owner b=r*/owner e=r*/b \"D d\"=r/e");
    run(&mut acl, 100, "revoke select* 102 cascade").unwrap();
    assert_eq!(shown(&acl), "owner=arwdDxt/owner b=r/owner");
}

#[test]
fn who_has_what() {
    let catalog = catalog();
    let mut acl = Acl::default_of(ObjectKind::Table, OWNER);
    for text in ["grant select* 102", "grant insert 0", "grant delete 104"] {
        run(&mut acl, 100, text).unwrap();
    }
    let has = |role: u32| {
        let held = acl.held(Holder::Role(Oid(role)), OWNER, &catalog);
        letters(held.privileges.and(ObjectKind::Table.all()), held.options.and(ObjectKind::Table.all()))
    };
    for (role, expected) in
        [(10, "a*r*w*d*D*x*t*"), (100, "a*r*w*d*D*x*t*"), (101, "a"), (102, "ar*"), (103, "ar*"), (104, "ad"), (999, "a")]
    {
        assert_eq!(has(role), expected, "role {role}");
    }
    assert_eq!(letters(acl.held(Holder::Public, OWNER, &catalog).privileges, Privileges::NONE), "a");
}

#[test]
fn a_new_owner_takes_the_old_ones_place() {
    let mut acl = Acl::default_of(ObjectKind::Table, OWNER);
    for text in ["grant select* 101", "grant update 102"] {
        run(&mut acl, 100, text).unwrap();
    }
    run(&mut acl, 101, "grant select 102").unwrap();
    let moved = acl.of_new_owner(OWNER, Oid(102));
    assert_eq!(shown(&moved), "b=arwdDxt/b a=r*/b b=r/a");
    let merged = moved.of_new_owner(Oid(102), Oid(101));
    assert_eq!(shown(&merged), "a=ar*wdDxt/a");
}

#[test]
fn lists_are_bounded() {
    let mut catalog = catalog();
    let all: Vec<Oid> = (1_000..1_001 + u32::try_from(ITEMS_MAX).unwrap()).map(Oid).collect();
    for role in &all {
        catalog.put(Object::Role(Box::new(RoleDef::new(*role, &format!("r{role}")))));
    }
    let change = Change { grant: true, option: false, cascade: false, privileges: Privileges::SELECT };
    let error = Acl::default().changed(change, &all, OWNER, OWNER, &catalog).unwrap_err();
    assert_eq!(error.code(), SqlState::PROGRAM_LIMIT_EXCEEDED);
    assert!(Acl::default().changed(change, &all[1..], OWNER, OWNER, &catalog).is_ok());
}

#[test]
fn what_new_objects_get_is_what_was_said_of_them() {
    let mut catalog = catalog();
    let item = |grantee, grantor, privileges| AclItem {
        grantee: Oid(grantee),
        grantor: Oid(grantor),
        privileges,
        options: Privileges::NONE,
    };
    let entry =
        |oid, schema, items| DefaultAclDef { oid: Oid(oid), role: OWNER, schema, kind: ObjectKind::Table, acl: Acl::new(items) };
    let of_new = |catalog: &Catalog, owner, schema| {
        let acl = catalog.acl_of_new(ObjectKind::Table, owner, Oid(schema)).unwrap();
        acl.map(|acl| shown(&acl))
    };
    let here = entry(200, Some(Oid(2200)), vec![item(102, 100, Privileges::INSERT)]);
    assert_eq!(here.description(&catalog), "default privileges on new relations belonging to role owner in schema public");
    catalog.put(Object::DefaultAcl(Box::new(here)));
    assert_eq!(of_new(&catalog, OWNER, 2200).as_deref(), Some("owner=arwdDxt/owner b=a/owner"));
    let anywhere =
        entry(201, None, vec![item(100, 100, Privileges::ALL.and(ObjectKind::Table.all())), item(101, 100, Privileges::SELECT)]);
    assert_eq!(anywhere.description(&catalog), "default privileges on new relations belonging to role owner");
    catalog.put(Object::DefaultAcl(Box::new(anywhere)));
    assert_eq!(of_new(&catalog, OWNER, 2200).as_deref(), Some("owner=arwdDxt/owner a=r/owner b=a/owner"));
    assert_eq!(of_new(&catalog, OWNER, 11).as_deref(), Some("owner=arwdDxt/owner a=r/owner"));
    assert_eq!(of_new(&catalog, Oid(101), 2200), None);
}
