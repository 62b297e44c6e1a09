//! Which rule decides, and what is wrong with others.

use super::*;

fn attempt<'a>(origin: &str, user: &'a str, database: &'a str) -> Attempt<'a> {
    let origin = origin.parse().map_or(Origin::Local, Origin::of);
    // Everybody but `root` is a member of `staff`.
    let is_member: &dyn Fn(&str) -> bool = if user == "root" { &|_| false } else { &|role| role == "staff" };
    Attempt { origin, encrypted: false, database, user, is_member }
}

#[track_caller]
fn check(rules: &str, cases: &[(&str, &str, &str, Result<Proof, &str>)]) {
    let hba = Hba::parse(rules).expect("the rules are right");
    for (origin, user, database, expected) in cases {
        let found = hba.proof(&attempt(origin, user, database));
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{origin} {user} {database}"),
            (Err(error), Err(expected)) => {
                assert_eq!(error.message(), *expected);
                assert_eq!(error.code(), SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
            }
            _ => panic!("{origin} {user} {database}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let rules = "
# comment, and an empty line

local   all            all                       trust  # behind
host    all            evil      0.0.0.0/0       reject
host    shop, \"all\"  ann,bob   10.1.0.0/16     scram-sha-256
host    sameuser       all       10.2.0.0 255.255.0.0 trust
host    samerole       all       10.3.0.0/16     trust
host    all            +staff    10.4.0.0/16     trust
hostssl all            all       10.5.0.0/16     trust
hostnossl all          all       10.6.0.0/16     trust
hostnogssenc all       all       fd00::/8        trust
host    replication    all       all             trust
host    all            \"all\"   10.9.0.0/16 \\
                                                 trust
";
    let (trust, scram) = (Ok(Proof::by(Method::Trust)), Ok(Proof::by(Method::ScramSha256)));
    let none = "no pg_hba.conf entry for host \"10.1.0.1\", user \"ann\", database \"x\", no encryption";
    let rejected = "pg_hba.conf rejects connection for host \"10.1.0.1\", user \"evil\", database \"shop\", no encryption";
    let far = "no pg_hba.conf entry for host \"fe80::1\", user \"ann\", database \"x\", no encryption";
    let tls = "no pg_hba.conf entry for host \"10.5.0.1\", user \"ann\", database \"x\", no encryption";
    let root = "no pg_hba.conf entry for host \"10.4.0.1\", user \"root\", database \"x\", no encryption";
    let quoted = "no pg_hba.conf entry for host \"10.9.0.1\", user \"ann\", database \"x\", no encryption";
    check(
        rules,
        &[
            ("local", "ann", "x", trust),
            ("10.1.0.1", "evil", "shop", Err(rejected)),
            ("10.1.0.1", "ann", "shop", scram),
            ("10.1.255.1", "bob", "all", scram),
            ("::ffff:10.1.0.1", "ann", "shop", scram),
            ("10.1.0.1", "ann", "x", Err(none)),
            ("10.2.3.4", "ann", "ann", trust),
            ("10.3.3.4", "ann", "staff", trust),
            ("10.4.0.1", "ann", "x", trust),
            ("10.4.0.1", "root", "x", Err(root)),
            ("10.5.0.1", "ann", "x", Err(tls)),
            ("10.6.0.1", "ann", "x", trust),
            ("fd12::1", "ann", "x", trust),
            ("fe80::1", "ann", "x", Err(far)),
            ("10.9.0.1", "all", "x", trust),
            ("10.9.0.1", "ann", "x", Err(quoted)),
        ],
    );
    let encrypted = Attempt { encrypted: true, ..attempt("10.5.0.1", "ann", "x") };
    let hba = Hba::parse(rules).unwrap();
    assert_eq!(hba.proof(&encrypted), trust.map_err(|_: &str| unreachable!()));
    let clear_only = Attempt { encrypted: true, ..attempt("10.6.0.1", "ann", "x") };
    assert!(hba.proof(&clear_only).unwrap_err().message().ends_with("SSL encryption"));
    assert_eq!(hba.open_lines().collect::<Vec<_>>(), [7, 8, 9, 10, 11, 12, 13, 14]);
    assert!(Hba::trusting().proof(&attempt("1.2.3.4", "a", "b")).is_ok());
    let loopback = Hba::parse("host all all 127.0.0.1/8 trust\nhost all all ::1/128 trust\nhost all all ::1/0 trust").unwrap();
    assert_eq!(loopback.open_lines().collect::<Vec<_>>(), [3]);
}

#[test]
fn wrong_lines_are_named() {
    for (line, message) in [
        ("hosts all all all trust", "invalid connection type \"hosts\""),
        ("local,host all all trust", "multiple values specified for connection types"),
        ("local", "end-of-line before database specification"),
        ("local all", "end-of-line before role specification"),
        ("local all all", "end-of-line before authentication method"),
        ("host all all", "end-of-line before IP address specification"),
        ("host all all 10.0.0.1", "end-of-line before netmask specification"),
        ("host all all 10.0.0.1/33 trust", "invalid CIDR mask in address \"10.0.0.1/33\""),
        ("host all all 10.0.0.300/8 trust", "invalid IP address \"10.0.0.300\""),
        ("host all all example.com trust", "host names (\"example.com\") are not supported: name the addresses"),
        ("host all all samenet trust", "samenet is not supported: name the addresses"),
        ("host all all 10.0.0.0 255.0.255.0 trust", "invalid IP mask \"255.0.255.0\": its ones do not come first"),
        ("host all all 10.0.0.0 ffff:: trust", "IP address and mask do not match"),
        ("local @dbs all trust", "names from a file (@dbs) are not supported: list them here"),
        ("local all @users trust", "names from a file (@users) are not supported: list them here"),
        ("local all all md5", "authentication method \"md5\" is not supported: use scram-sha-256, which every client knows"),
        ("host all all all cert", "cert authentication is only supported on hostssl connections"),
        ("host all all all trust clientcert=verify-ca", "clientcert can only be configured for \"hostssl\" rows"),
        ("hostssl all all all trust clientcert=1", "invalid value for clientcert: \"1\""),
        (
            "hostssl all all all cert clientcert=verify-ca",
            "clientcert only accepts \"verify-full\" when using \"cert\" authentication",
        ),
        (
            "hostssl all all all cert clientname=DN",
            "clientname=DN is not supported: a certificate's CN has to be the user's name",
        ),
        ("hostssl all all all cert clientname=x", "invalid value for clientname: \"x\""),
        (
            "hostssl all all all cert map=m",
            "authentication option \"map\" is not supported: a certificate's CN has to be the user's name",
        ),
        ("hostssl all all all cert clientcert", "authentication option not in name=value format: clientcert"),
        ("local all all nonsense", "invalid authentication method \"nonsense\""),
        ("local all all trust pamservice=x", "unrecognized authentication option name: \"pamservice\""),
        ("local \"all all trust", "a quoted name does not end"),
        ("hostgssenc all all all trust", "hostgssenc record cannot match because GSSAPI is not supported by this build"),
    ] {
        let errors = Hba::parse(&format!("local all all trust\n{line}\n")).expect_err(line);
        assert_eq!(errors, [HbaError { line: 2, message: message.to_owned() }], "{line}");
    }
    assert_eq!(Hba::parse("# nothing\n").unwrap_err().len(), 1);
    assert_eq!(Hba::parse("x\nlocal\ny").unwrap_err().iter().map(|error| error.line).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn rules_may_ask_for_certificates() {
    let rules = "
hostssl all ann all cert
hostssl all bob all trust clientcert=verify-full clientname=CN
hostssl all eve all scram-sha-256 clientcert=verify-ca
hostssl all all all trust
";
    let hba = Hba::parse(rules).expect("the rules are right");
    for (user, method, certificate) in [
        ("ann", Method::Cert, Some(CertificateCheck::VerifyFull)),
        ("bob", Method::Trust, Some(CertificateCheck::VerifyFull)),
        ("eve", Method::ScramSha256, Some(CertificateCheck::VerifyCa)),
        ("zoe", Method::Trust, None),
    ] {
        let found = hba.proof(&Attempt { encrypted: true, ..attempt("10.0.0.1", user, "x") });
        assert_eq!(found, Ok(Proof { method, certificate }), "{user}");
    }
    assert_eq!(hba.open_lines().collect::<Vec<_>>(), [5], "who needs a certificate is not let in without proof");
    assert_eq!(hba.certificate_lines().collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(hba.encrypted_lines().collect::<Vec<_>>(), [2, 3, 4, 5]);
}
