//! The lines of the file.
//!
//! A line is cut into fields at white space, a field into words at commas. A word in double quotes is a name, whatever it is. A
//! backslash at its end continues a line; `#` begins a comment.

use std::net::IpAddr;

use crate::auth::hba::{Addresses, CertificateCheck, DatabasePattern, HbaError, Kind, Method, Proof, Rule, UserPattern};

/// A word, and whether it was (partly) quoted.
struct Word {
    text: String,
    quoted: bool,
}

impl Word {
    fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Rule>, Vec<HbaError>> {
    let (mut rules, mut errors) = (Vec::new(), Vec::new());
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let mut joined = first.to_owned();
        while let Some(begun) = joined.strip_suffix('\\') {
            joined = format!("{begun}{}", lines.next().map_or("", |(_, next)| next));
        }
        let line = index + 1;
        match cut(&joined).and_then(|fields| rule(line, fields)) {
            Ok(found) => rules.extend(found),
            Err(message) => errors.push(HbaError { line, message }),
        }
    }
    if rules.is_empty() && errors.is_empty() {
        errors.push(HbaError {
            line: text.lines().count().max(1),
            message: "the file has no rule: nobody could connect".to_owned(),
        });
    }
    if errors.is_empty() { Ok(rules) } else { Err(errors) }
}

/// The fields of a line.
fn cut(line: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut fields: Vec<Vec<Word>> = Vec::new();
    let mut word: Option<Word> = None;
    // Behind a comma the field goes on, whatever space follows.
    let (mut continues, mut in_quotes) = (false, false);
    let mut end = |word: &mut Option<Word>, continues: &mut bool| {
        let Some(word) = word.take() else { return };
        match fields.last_mut().filter(|_| *continues) {
            Some(field) => field.push(word),
            None => fields.push(vec![word]),
        }
        *continues = false;
    };
    for c in line.chars() {
        match c {
            '"' => {
                in_quotes = !in_quotes;
                word.get_or_insert(Word { text: String::new(), quoted: true }).quoted = true;
            }
            c if in_quotes => word.get_or_insert(Word { text: String::new(), quoted: true }).text.push(c),
            '#' => break,
            ',' => {
                end(&mut word, &mut continues);
                continues = true;
            }
            c if c.is_whitespace() => end(&mut word, &mut continues),
            c => word.get_or_insert(Word { text: String::new(), quoted: false }).text.push(c),
        }
    }
    if in_quotes {
        return Err("a quoted name does not end".to_owned());
    }
    end(&mut word, &mut continues);
    Ok(fields)
}

/// The rule of a line; none of one that is empty.
fn rule(line: usize, fields: Vec<Vec<Word>>) -> Result<Option<Rule>, String> {
    let mut fields = fields.into_iter();
    let Some(kind) = fields.next() else { return Ok(None) };
    let kind = match one(kind, "connection types")?.text.as_str() {
        "local" => Kind::Local,
        // There is no GSSAPI encryption, so every connection is without.
        "host" | "hostnogssenc" => Kind::Host,
        "hostssl" => Kind::HostTls,
        "hostnossl" => Kind::HostClear,
        "hostgssenc" => return Err("hostgssenc record cannot match because GSSAPI is not supported by this build".to_owned()),
        other => return Err(format!("invalid connection type \"{other}\"")),
    };
    let databases = fields.next().ok_or("end-of-line before database specification")?;
    let databases = databases.into_iter().map(database).collect::<Result<Vec<_>, _>>()?;
    let users = fields.next().ok_or("end-of-line before role specification")?;
    let users = users.into_iter().map(user).collect::<Result<Vec<_>, _>>()?;
    let addresses = match kind {
        Kind::Local => Addresses::All,
        _ => {
            let address = one(fields.next().ok_or("end-of-line before IP address specification")?, "address values")?;
            addresses(&address, &mut fields)?
        }
    };
    let method = method(&one(fields.next().ok_or("end-of-line before authentication method")?, "authentication types")?)?;
    if method == Method::Cert && kind != Kind::HostTls {
        return Err("cert authentication is only supported on hostssl connections".to_owned());
    }
    let mut proof = Proof { method, certificate: (method == Method::Cert).then_some(CertificateCheck::VerifyFull) };
    for words in fields {
        let text = words.into_iter().map(|word| word.text).collect::<Vec<_>>().join(",");
        option(&text, kind, &mut proof)?;
    }
    Ok(Some(Rule { line, kind, databases, users, addresses, proof }))
}

/// An option behind the method.
fn option(text: &str, kind: Kind, proof: &mut Proof) -> Result<(), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("authentication option not in name=value format: {text}"))?;
    match (name, value) {
        ("clientcert", _) if kind != Kind::HostTls => Err("clientcert can only be configured for \"hostssl\" rows".to_owned()),
        ("clientcert", "verify-full") => {
            proof.certificate = Some(CertificateCheck::VerifyFull);
            Ok(())
        }
        ("clientcert", "verify-ca") if proof.method == Method::Cert => {
            Err("clientcert only accepts \"verify-full\" when using \"cert\" authentication".to_owned())
        }
        ("clientcert", "verify-ca") => {
            proof.certificate = Some(CertificateCheck::VerifyCa);
            Ok(())
        }
        ("clientcert", other) => Err(format!("invalid value for clientcert: \"{other}\"")),
        ("clientname", "CN") if proof.certificate.is_some() => Ok(()),
        ("clientname", "DN") => Err("clientname=DN is not supported: a certificate's CN has to be the user's name".to_owned()),
        ("clientname", _) => Err(format!("invalid value for clientname: \"{value}\"")),
        ("map", _) => {
            Err("authentication option \"map\" is not supported: a certificate's CN has to be the user's name".to_owned())
        }
        _ => Err(format!("unrecognized authentication option name: \"{name}\"")),
    }
}

fn one(field: Vec<Word>, what: &str) -> Result<Word, String> {
    let mut words = field.into_iter();
    match (words.next(), words.next()) {
        (Some(word), None) => Ok(word),
        _ => Err(format!("multiple values specified for {what}")),
    }
}

fn refuse_file(word: &Word) -> Result<(), String> {
    match !word.quoted && word.text.starts_with('@') {
        true => Err(format!("names from a file ({}) are not supported: list them here", word.text)),
        false => Ok(()),
    }
}

fn database(word: Word) -> Result<DatabasePattern, String> {
    refuse_file(&word)?;
    Ok(match word.text.as_str() {
        _ if word.quoted => DatabasePattern::Named(word.text),
        "all" => DatabasePattern::All,
        "sameuser" => DatabasePattern::SameUser,
        "samerole" | "samegroup" => DatabasePattern::SameRole,
        "replication" => DatabasePattern::Replication,
        _ => DatabasePattern::Named(word.text),
    })
}

fn user(word: Word) -> Result<UserPattern, String> {
    refuse_file(&word)?;
    if word.is("all") {
        return Ok(UserPattern::All);
    }
    Ok(match word.text.strip_prefix('+').filter(|_| !word.quoted) {
        Some(role) => UserPattern::MembersOf(role.to_owned()),
        None => UserPattern::Named(word.text),
    })
}

/// An address with its prefix, or with the mask that is the next field.
fn addresses(word: &Word, fields: &mut impl Iterator<Item = Vec<Word>>) -> Result<Addresses, String> {
    if word.is("all") {
        return Ok(Addresses::All);
    }
    if word.is("samehost") || word.is("samenet") {
        return Err(format!("{} is not supported: name the addresses", word.text));
    }
    let (text, prefix) = word.text.split_once('/').map_or((&*word.text, None), |(text, prefix)| (text, Some(prefix)));
    let address: IpAddr = text.parse().map_err(|_| match text.bytes().all(|b| b.is_ascii_hexdigit() || b".:".contains(&b)) {
        true => format!("invalid IP address \"{text}\""),
        false => format!("host names (\"{text}\") are not supported: name the addresses"),
    })?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    if let Some(prefix) = prefix {
        let length = prefix.parse().ok().filter(|length| *length <= width);
        let length = length.ok_or_else(|| format!("invalid CIDR mask in address \"{}\"", word.text))?;
        return Ok(Addresses::Network(address, length));
    }
    let mask = fields.next().ok_or("end-of-line before netmask specification")?;
    let mask = one(mask, "netmasks")?.text;
    let parsed: IpAddr = mask.parse().map_err(|_| format!("invalid IP mask \"{mask}\""))?;
    let (ones, all) = match parsed {
        IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
        IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
    };
    if parsed.is_ipv4() != address.is_ipv4() {
        return Err("IP address and mask do not match".to_owned());
    }
    if ones != all {
        return Err(format!("invalid IP mask \"{mask}\": its ones do not come first"));
    }
    Ok(Addresses::Network(address, ones))
}

fn method(word: &Word) -> Result<Method, String> {
    match word.text.as_str() {
        "trust" => Ok(Method::Trust),
        "reject" => Ok(Method::Reject),
        "scram-sha-256" => Ok(Method::ScramSha256),
        "cert" => Ok(Method::Cert),
        known @ ("md5" | "password") => {
            Err(format!("authentication method \"{known}\" is not supported: use scram-sha-256, which every client knows"))
        }
        known @ ("gss" | "sspi" | "ident" | "peer" | "pam" | "bsd" | "ldap" | "radius") => {
            Err(format!("authentication method \"{known}\" is not supported"))
        }
        other => Err(format!("invalid authentication method \"{other}\"")),
    }
}
