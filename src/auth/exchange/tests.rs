//! The vectors of RFC 7677, and what is wrong with other messages.

use super::*;

const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

fn pencil() -> Account {
    Account::real(Verifier::derive("pencil", &BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096))
}

fn exchange(account: Account) -> Exchange {
    Exchange::with_nonce(account, NONCE.to_owned())
}

fn initial(mechanism: &str, data: Option<&[u8]>) -> Vec<u8> {
    let length = data.map_or(-1, |data| data.len() as i32);
    [mechanism.as_bytes(), b"\0", &length.to_be_bytes(), data.unwrap_or_default()].concat()
}

#[test]
fn the_vectors_of_rfc_7677() {
    for separate in [false, true] {
        let mut exchange = exchange(pencil());
        let first = if separate {
            assert_eq!(exchange.begin(&initial(MECHANISM, None)), Ok(Reply::Continue(Vec::new())));
            exchange.respond(FIRST)
        } else {
            exchange.begin(&initial(MECHANISM, Some(FIRST)))
        };
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(first, Ok(Reply::Continue(challenge.into())));
        let accepted = Reply::Accepted(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec());
        assert_eq!(exchange.respond(FINAL.as_bytes()), Ok(accepted));
        assert_eq!(exchange.respond(FINAL.as_bytes()).unwrap_err().code(), SqlState::PROTOCOL_VIOLATION, "once is enough");
    }
}

#[test]
fn who_cannot_log_in_is_not_told_apart() {
    let wrong = Account::real(Verifier::derive("pen", &BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096));
    let mock = |user| Account::mock(user, b"secret", 4096);
    // Even somebody who knew the keys of the mock could not use them.
    let known = Account { mock: true, ..pencil() };
    for account in [wrong, mock("user"), known] {
        let mut exchange = exchange(account);
        assert!(matches!(exchange.begin(&initial(MECHANISM, Some(FIRST))), Ok(Reply::Continue(_))));
        assert_eq!(exchange.respond(FINAL.as_bytes()), Ok(Reply::Refused));
    }
    let salt = |account: &Account| account.verifier.salt.clone();
    assert_eq!(salt(&mock("a")), salt(&mock("a")));
    assert_ne!(salt(&mock("a")), salt(&mock("b")));
    assert_ne!(salt(&mock("a")), salt(&Account::mock("a", b"other", 4096)));
    assert_eq!(salt(&mock("a")).len(), SALT_BYTES);
}

#[test]
fn nonces_are_never_the_same() {
    let nonce = || Exchange::new(pencil()).server_nonce;
    let (a, b) = (nonce(), nonce());
    assert!(a != b && a.len() == 24 && a.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
}

#[track_caller]
fn refused(result: SqlResult<Reply>, message: &str, detail: &str) {
    let error = result.expect_err(detail);
    assert_eq!((error.message(), error.fields().detail.as_deref().unwrap_or_default()), (message, detail));
}

#[test]
fn wrong_first_messages() {
    const MALFORMED: &str = "malformed SCRAM message";
    for (data, message, detail) in [
        ("", MALFORMED, "The message is empty."),
        ("n,,n=a\0", MALFORMED, "Message length does not match input length."),
        ("z,,n=a,r=b", MALFORMED, "Unexpected channel-binding flag \"'z'\"."),
        ("n", MALFORMED, "Comma expected, but found character \"0x00\"."),
        ("nx", MALFORMED, "Comma expected, but found character \"'x'\"."),
        ("n,a=x,n=a,r=b", "client uses authorization identity, but it is not supported", ""),
        ("n,x,n=a,r=b", MALFORMED, "Unexpected attribute \"'x'\" in client-first-message."),
        ("n,,m=x,n=a,r=b", "client requires an unsupported SCRAM extension", ""),
        ("n,,r=b", MALFORMED, "Expected attribute \"n\" but found \"'r'\"."),
        ("n,,n", MALFORMED, "Expected character \"=\" for attribute \"n\"."),
        ("n,,n=a", MALFORMED, "Expected attribute \"r\" but found \"0x00\"."),
        ("n,,n=a,r=b\u{7f}", "non-printable characters in SCRAM nonce", ""),
        ("n,,n=a,r=b,1", MALFORMED, "Attribute expected, but found invalid character \"'1'\"."),
        (
            "p=tls-server-end-point,,n=a,r=b",
            MALFORMED,
            "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
        ),
    ] {
        refused(exchange(pencil()).begin(&initial(MECHANISM, Some(data.as_bytes()))), message, detail);
    }
    let mut extended = exchange(pencil());
    assert!(extended.begin(&initial(MECHANISM, Some(b"y,,n=,r=x,z=more"))).is_ok(), "extensions are passed over");
}

/// The hash of the server's certificate in these tests.
const END_POINT: [u8; 32] = [7; 32];

fn over_tls() -> Exchange {
    exchange(pencil()).over(Arc::from(END_POINT))
}

/// The client's side of an exchange: its final message to what the server has said.
fn prove(password: &str, bare: &str, server_first: &[u8], binding: &[u8]) -> String {
    let text = std::str::from_utf8(server_first).expect("the server writes text");
    let attribute = |name: &str| text.split(',').find_map(|part| part.strip_prefix(name)).expect(name);
    let salt = BASE64.decode(attribute("s=")).expect("the salt is base 64");
    let iterations: u32 = attribute("i=").parse().expect("iterations are a number");
    let verifier = Verifier::derive(password, &salt, iterations);
    let mut salted = hmac(password.as_bytes(), &[&salt, &1u32.to_be_bytes()]);
    let mut last = salted;
    for _ in 1..iterations {
        last = hmac(password.as_bytes(), &[&last]);
        salted.iter_mut().zip(last).for_each(|(byte, other)| *byte ^= other);
    }
    let without_proof = format!("c={},r={}", BASE64.encode(binding), attribute("r="));
    let mut proof = hmac(&salted, &[b"Client Key"]);
    let signature = hmac(&verifier.stored_key, &[format!("{bare},{text},{without_proof}").as_bytes()]);
    proof.iter_mut().zip(signature).for_each(|(byte, other)| *byte ^= other);
    format!("{without_proof},p={}", BASE64.encode(proof))
}

#[test]
fn a_bound_exchange_binds_to_the_certificate() {
    let header = b"p=tls-server-end-point,,";
    let first = [&header[..], b"n=,r=abc"].concat();
    assert_eq!(over_tls().mechanisms().collect::<Vec<_>>(), [MECHANISM_PLUS, MECHANISM]);
    assert_eq!(exchange(pencil()).mechanisms().collect::<Vec<_>>(), [MECHANISM]);
    let begin = |exchange: &mut Exchange| match exchange.begin(&initial(MECHANISM_PLUS, Some(&first))) {
        Ok(Reply::Continue(server_first)) => server_first,
        other => panic!("a challenge, not {other:?}"),
    };
    let mut good = over_tls();
    let server_first = begin(&mut good);
    let answer = prove("pencil", "n=,r=abc", &server_first, &[&header[..], &END_POINT].concat());
    assert!(matches!(good.respond(answer.as_bytes()), Ok(Reply::Accepted(_))));
    // Somebody in the middle has shown another certificate; or the client binds to none, or says afterwards what it had not said.
    for binding in [&[&header[..], &[8; 32]].concat()[..], header, &[b"p=tls-unique,,", &END_POINT[..]].concat(), b"n,,"] {
        let mut exchange = over_tls();
        let server_first = begin(&mut exchange);
        let error =
            exchange.respond(prove("pencil", "n=,r=abc", &server_first, binding).as_bytes()).expect_err("it is not bound");
        assert_eq!(
            (error.code(), error.message()),
            (SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "SCRAM channel binding check failed")
        );
    }
    let mut wrong = over_tls();
    let server_first = begin(&mut wrong);
    let answer = prove("pen", "n=,r=abc", &server_first, &[&header[..], &END_POINT].concat());
    assert_eq!(wrong.respond(answer.as_bytes()), Ok(Reply::Refused));
}

#[test]
fn a_downgrade_is_noticed() {
    let without = "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.";
    let believes = "The client supports SCRAM channel binding but thinks the server does not.  \
                    However, this server does support channel binding.";
    const MALFORMED: &str = "malformed SCRAM message";
    for (mechanism, data, message, detail) in [
        (MECHANISM, "y,,n=,r=a", "SCRAM channel binding negotiation error", believes),
        (MECHANISM_PLUS, "y,,n=,r=a", MALFORMED, without),
        (MECHANISM_PLUS, "n,,n=,r=a", MALFORMED, without),
        (MECHANISM_PLUS, "z,,n=,r=a", MALFORMED, "Unexpected channel-binding flag \"'z'\"."),
        (MECHANISM_PLUS, "p=tls-unique,,n=,r=a", "unsupported SCRAM channel-binding type \"tls-unique\"", ""),
        (MECHANISM_PLUS, "p,,n=,r=a", MALFORMED, "Expected character \"=\" for attribute \"p\"."),
        (MECHANISM_PLUS, "p=tls-server-end-point,n=,r=a", MALFORMED, "Unexpected attribute \"'n'\" in client-first-message."),
        (MECHANISM_PLUS, "p=tls-server-end-point,a=x,n=,r=a", "client uses authorization identity, but it is not supported", ""),
    ] {
        refused(over_tls().begin(&initial(mechanism, Some(data.as_bytes()))), message, detail);
    }
    let negotiation = over_tls().begin(&initial(MECHANISM, Some(b"y,,n=,r=a"))).expect_err("it is a downgrade");
    assert_eq!(negotiation.code(), SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    for (exchange, data) in [(over_tls(), "n,,n=,r=a"), (exchange(pencil()), "y,,n=,r=a"), (exchange(pencil()), "n,,n=,r=a")] {
        let mut exchange = exchange;
        assert!(exchange.begin(&initial(MECHANISM, Some(data.as_bytes()))).is_ok(), "{data}: who cannot need not");
    }
}

#[test]
fn wrong_initial_responses() {
    let mechanism = "client selected an invalid SASL authentication mechanism";
    for (body, message) in [
        (initial("SCRAM-SHA-1", Some(FIRST)), mechanism),
        (initial("", Some(FIRST)), mechanism),
        (initial("SCRAM-SHA-256-PLUS", Some(FIRST)), mechanism),
        (b"SCRAM-SHA-256".to_vec(), "invalid string in message"),
        (b"SCRAM-SHA-256\0\0\0".to_vec(), "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\0\0\0\x09x".to_vec(), "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\xff\xff\xff\xfex".to_vec(), "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\xff\xff\xff\xffx".to_vec(), "invalid message format"),
        (b"SCRAM-SHA-256\0\0\0\0\x01xx".to_vec(), "invalid message format"),
    ] {
        refused(exchange(pencil()).begin(&body), message, "");
    }
}

#[test]
fn wrong_final_messages() {
    const MALFORMED: &str = "malformed SCRAM message";
    let binding = "unexpected SCRAM channel-binding attribute in client-final-message";
    for (data, message, detail) in [
        (FINAL.replace("biws", "eSws"), binding, ""),
        (FINAL.replace("c=", "x="), MALFORMED, "Expected attribute \"c\" but found \"'x'\"."),
        (FINAL.replace("$k0", "$k1"), "invalid SCRAM response", "Nonce does not match."),
        (FINAL.replace("dHzb", "dHz"), MALFORMED, "Malformed proof in client-final-message."),
        (FINAL.replace("dHzb", "dHzbdHzb"), MALFORMED, "Malformed proof in client-final-message."),
        (FINAL.replace(",p=", ",q="), MALFORMED, "Attribute expected, but found end of string."),
        (format!("{FINAL},x=y"), MALFORMED, "Garbage found at the end of client-final-message."),
        (format!("{FINAL},"), MALFORMED, "Garbage found at the end of client-final-message."),
        ("c=biws".to_owned(), MALFORMED, "Expected attribute \"r\" but found \"0x00\"."),
    ] {
        let mut exchange = exchange(pencil());
        exchange.begin(&initial(MECHANISM, Some(FIRST))).expect("the first message is right");
        refused(exchange.respond(data.as_bytes()), message, detail);
        refused(exchange.respond(FINAL.as_bytes()), "unexpected SASL response", "");
    }
    // What a proof covers cannot be added to.
    let mut exchange = exchange(pencil());
    exchange.begin(&initial(MECHANISM, Some(FIRST))).expect("the first message is right");
    assert_eq!(exchange.respond(FINAL.replace(",p=", ",x=y,p=").as_bytes()), Ok(Reply::Refused));
}
