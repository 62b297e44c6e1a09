//! Settings as SQL and the startup packet change them.

use super::*;

const ANN: Authority = Authority { role: Oid(20), superuser: true };

fn started(startup: &[(String, String)]) -> SqlResult<Settings> {
    Settings::new("ann", ANN, startup, |_, name, value| {
        let other = Authority { role: Oid(21), superuser: false };
        Ok(matches!(name, "role" | "session_authorization").then_some(other).filter(|_| value != "none"))
    })
}

fn settings() -> Settings {
    started(&[]).expect("no startup setting is no error")
}

#[test]
fn values_are_canonical() {
    for (name, value, shown) in [
        ("statement_timeout", "10s", "10s"),
        ("statement_timeout", "1500", "1500ms"),
        ("statement_timeout", "90 min", "90min"),
        ("STATEMENT_TIMEOUT", "0", "0"),
        ("work_mem", "8MB", "8MB"),
        ("work_mem", "4096", "4MB"),
        ("client_encoding", "utf-8", "UTF8"),
        ("Standard_Conforming_Strings", "true", "on"),
        ("client_min_messages", "WARNING", "warning"),
        ("default_transaction_isolation", "Repeatable Read", "repeatable read"),
        ("application_name", "a\u{e9}b", "a?b"),
        ("my.setting", "any", "any"),
        ("search_path", "a, \"B c\"", "a, \"B c\""),
        ("extra_float_digits", "3", "3"),
    ] {
        let mut settings = settings();
        assert_eq!(settings.set(name, Some(value), false).as_deref(), Ok(shown), "{name} = {value}");
        assert_eq!(settings.show(name).as_deref(), Some(shown));
    }
}

#[test]
fn wrong_settings_are_refused_as_postgres_refuses_them() {
    for (name, value, code) in [
        ("no_such", "1", SqlState::UNDEFINED_OBJECT),
        ("a b.c", "1", SqlState::UNDEFINED_OBJECT),
        ("server_version", "1", SqlState::CANT_CHANGE_RUNTIME_PARAM),
        ("statement_timeout", "-1", SqlState::INVALID_PARAMETER_VALUE),
        ("statement_timeout", "soon", SqlState::INVALID_PARAMETER_VALUE),
        ("statement_timeout", "1 fortnight", SqlState::INVALID_PARAMETER_VALUE),
        ("extra_float_digits", "4", SqlState::INVALID_PARAMETER_VALUE),
        ("row_security", "maybe", SqlState::INVALID_PARAMETER_VALUE),
        ("client_min_messages", "loud", SqlState::INVALID_PARAMETER_VALUE),
        ("standard_conforming_strings", "off", SqlState::FEATURE_NOT_SUPPORTED),
        ("client_encoding", "LATIN1", SqlState::FEATURE_NOT_SUPPORTED),
        ("IntervalStyle", "iso_8601", SqlState::FEATURE_NOT_SUPPORTED),
        ("enable_seqscan", "off", SqlState::FEATURE_NOT_SUPPORTED),
        ("search_path", "a,,b", SqlState::INVALID_PARAMETER_VALUE),
    ] {
        let error = settings().set(name, Some(value), false).expect_err(name);
        assert_eq!(error.code(), code, "{name} = {value}: {error}");
    }
    let error = settings().set("no_such", Some("1"), false).unwrap_err();
    assert_eq!(error.message(), "unrecognized configuration parameter \"no_such\"");
}

#[test]
fn transactions_keep_and_undo_changes() {
    let mut settings = settings();
    settings.set("statement_timeout", Some("1s"), false).unwrap();
    settings.commit();
    assert_eq!(settings.effective().statement_timeout_ms, 1_000);

    settings.set("statement_timeout", Some("2s"), false).unwrap();
    let mark = settings.mark();
    settings.set("statement_timeout", Some("3s"), true).unwrap();
    assert_eq!(settings.effective().statement_timeout_ms, 3_000);
    settings.rollback_to(mark);
    assert_eq!(settings.effective().statement_timeout_ms, 2_000);
    settings.set("statement_timeout", Some("4s"), true).unwrap();
    settings.commit();
    assert_eq!(settings.effective().statement_timeout_ms, 2_000, "SET LOCAL ends with its transaction");

    settings.set("statement_timeout", Some("5s"), false).unwrap();
    settings.set("my.own", Some("x"), false).unwrap();
    settings.rollback();
    assert_eq!(settings.effective().statement_timeout_ms, 2_000);
    assert_eq!(settings.show("my.own"), None);
}

#[test]
fn reset_goes_back_to_the_startup_packet() {
    let startup = [("application_name".to_owned(), "psql".to_owned()), ("lock_timeout".to_owned(), "7".to_owned())];
    let mut settings = started(&startup).unwrap();
    assert!(!settings.has_reports(), "the client is told all of it anyway");
    settings.set("application_name", Some("other"), false).unwrap();
    settings.set("lock_timeout", Some("9"), false).unwrap();
    settings.set("work_mem", Some("1GB"), false).unwrap();
    assert_eq!(settings.take_reports(), [("application_name", "other".to_owned())]);
    settings.reset("lock_timeout").unwrap();
    assert_eq!(settings.effective().lock_timeout_ms, 7);
    settings.reset_all();
    settings.commit();
    assert_eq!(settings.show("application_name").as_deref(), Some("psql"));
    assert_eq!(settings.show("work_mem").as_deref(), Some("4MB"));
    assert_eq!(settings.show("session_authorization").as_deref(), Some("ann"));
}

#[test]
fn what_plans_depend_on_changes_their_epoch() {
    let mut settings = settings();
    let before = settings.plan_epoch();
    settings.set("application_name", Some("x"), false).unwrap();
    assert_eq!(settings.plan_epoch(), before);
    settings.set("search_path", Some("a"), false).unwrap();
    let after = settings.plan_epoch();
    assert_ne!(after, before);
    settings.rollback();
    assert_ne!(settings.plan_epoch(), after, "undoing is a change too");
}

#[test]
fn every_default_is_a_value_that_can_be_set() {
    for definition in DEFINITIONS.iter().filter(|definition| definition.access == Access::User) {
        let canonical = definition.canonical(definition.default).unwrap_or_else(|error| panic!("{}: {error}", definition.name));
        assert_eq!(canonical, definition.default, "{}", definition.name);
    }
    assert!(settings().show_all().len() >= DEFINITIONS.len());
}

#[test]
fn a_role_is_set_and_rolled_back_like_any_other_setting() {
    let mut settings = settings();
    let (bob, eve) = (Authority { role: Oid(21), superuser: false }, Authority { role: Oid(22), superuser: true });
    let now = |settings: &Settings| {
        let shown = |name| settings.show(name).unwrap();
        (settings.effective().authority(), shown("role"), shown("session_authorization"), shown("is_superuser"))
    };
    let is = |authority, role: &str, session: &str, superuser: &str| {
        (authority, role.to_owned(), session.to_owned(), superuser.to_owned())
    };
    assert_eq!(now(&settings), is(ANN, "none", "ann", "on"));
    let before = settings.plan_epoch();
    settings.assign("role", Some("bob"), Some(bob), false).unwrap();
    settings.commit();
    assert_ne!(settings.plan_epoch(), before, "plans are made for a role");
    assert_eq!(now(&settings), is(bob, "bob", "ann", "off"));
    assert_eq!(settings.take_reports(), [("is_superuser", "off".to_owned())]);
    let mark = settings.mark();
    settings.assign("session_authorization", Some("eve"), Some(eve), false).unwrap();
    assert_eq!(now(&settings), is(eve, "none", "eve", "on"));
    settings.rollback_to(mark);
    assert_eq!(now(&settings), is(bob, "bob", "ann", "off"));
    settings.assign("session_authorization", Some("eve"), Some(eve), true).unwrap();
    settings.assign("role", Some("bob"), Some(bob), true).unwrap();
    assert_eq!(now(&settings), is(bob, "bob", "eve", "off"));
    settings.commit();
    assert_eq!(now(&settings), is(bob, "bob", "ann", "off"), "LOCAL ends with the transaction");
    settings.reset_all();
    assert_eq!(now(&settings), is(bob, "bob", "ann", "off"), "RESET ALL leaves both");
    settings.reset("session_authorization").unwrap();
    assert_eq!(now(&settings), is(ANN, "none", "ann", "on"));
    let startup = [("Role".to_owned(), "bob".to_owned())];
    let mut settings = started(&startup).unwrap();
    assert_eq!(now(&settings), is(bob, "bob", "ann", "off"));
    settings.assign("role", Some("none"), None, false).unwrap();
    assert_eq!(now(&settings), is(ANN, "none", "ann", "on"));
    settings.reset("role").unwrap();
    assert_eq!(now(&settings), is(bob, "bob", "ann", "off"));
}
