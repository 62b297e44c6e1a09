//! SCRAM messages, verifiers and the file of who may connect, on arbitrary bytes. The first byte chooses.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use omendb::auth::hba::{Attempt, Hba, Method, Origin, Proof};
use omendb::auth::{Account, Exchange, Reply, Verifier};

/// Of a password that nobody guesses.
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| Verifier::derive("7f1c1a5e-of-the-fuzzer", b"salt", 1));

/// Messages of an exchange, each behind its length; the first is a SASLInitialResponse. Nobody gets in, and nothing that fails
/// goes on.
fn exchange(account: Account, bound: bool, mut messages: &[u8]) {
    let mut exchange = Exchange::with_nonce(account, "nonce".to_owned());
    if bound {
        exchange = exchange.over(Arc::from([7; 32]));
    }
    let (mut begun, mut over) = (false, false);
    while let Some((length, rest)) = messages.split_first() {
        let (message, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let reply = if begun { exchange.respond(message) } else { exchange.begin(message) };
        assert!(!matches!(reply, Ok(Reply::Accepted(_))), "a proof was guessed");
        assert!(!over || !matches!(reply, Ok(Reply::Continue(_))), "it goes on after its end");
        over |= begun && !matches!(reply, Ok(Reply::Continue(_)));
        begun = true;
        messages = rest;
    }
}

fn verifier(text: &str) {
    if let Some(verifier) = Verifier::parse(text) {
        assert_eq!(Verifier::parse(&verifier.to_text()), Some(verifier));
    }
}

/// Rules that can be read decide about everybody; mistakes are on lines that there are.
fn rules(text: &str) {
    match Hba::parse(text) {
        Ok(hba) => {
            for origin in [Origin::Local, Origin::of([127, 0, 0, 1].into()), Origin::of([0u16; 8].into())] {
                let is_member: &dyn Fn(&str) -> bool = &|role| role.len() % 2 == 0;
                let proof = hba.proof(&Attempt { origin, encrypted: false, database: "db", user: "ann", is_member });
                let rejects = matches!(proof, Ok(Proof { method: Method::Reject, .. }));
                assert!(!rejects, "rejecting is an error");
            }
            hba.open_lines().for_each(drop);
        }
        Err(errors) => {
            let lines = text.lines().count().max(1);
            assert!(!errors.is_empty() && errors.iter().all(|error| (1..=lines).contains(&error.line)));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((stage, bytes)) = bytes.split_first() else { return };
    match (stage % 4, std::str::from_utf8(bytes)) {
        (0, _) => exchange(Account::real(VERIFIER.clone()), stage & 4 != 0, bytes),
        (1, _) => exchange(Account::mock("ann", b"secret", 1), stage & 4 != 0, bytes),
        (2, Ok(text)) => verifier(text),
        (3, Ok(text)) => rules(text),
        _ => {}
    }
});
