//! Who may connect from where and how to be asked for proof: rules in the format of PostgreSQL's `pg_hba.conf`.
//!
//! Source: PostgreSQL 15 documentation, 21.1. The first rule that fits a connection decides; there is no second chance.

mod parse;

use std::fmt;
use std::net::IpAddr;

use crate::error::{SqlError, SqlState};

/// Rules, in the order in which they are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hba {
    rules: Vec<Rule>,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number.
    pub line: usize,
    kind: Kind,
    databases: Vec<DatabasePattern>,
    users: Vec<UserPattern>,
    addresses: Addresses,
    /// How a client is to prove who it is.
    pub proof: Proof,
}

/// How a client has to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Through the Unix socket.
    Local,
    /// Over TCP.
    Host,
    /// Over TCP, encrypted.
    HostTls,
    /// Over TCP, in the clear.
    HostClear,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DatabasePattern {
    All,
    /// Named like the user.
    SameUser,
    /// Named like a role that the user is a member of.
    SameRole,
    /// None: for replication, which there is not.
    Replication,
    Named(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum UserPattern {
    All,
    Named(String),
    /// Members of a role.
    MembersOf(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    All,
    /// Address and length of its prefix.
    Network(IpAddr, u32),
}

/// What a client has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How it proves who it is.
    pub method: Method,
    /// Whether it needs a certificate (`clientcert`); with [`Method::Cert`] always one in its name.
    pub certificate: Option<CertificateCheck>,
}

impl Proof {
    /// By a method alone.
    pub const fn by(method: Method) -> Self {
        Self { method, certificate: None }
    }
}

/// What a client's certificate has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateCheck {
    /// Issued by an authority that is believed.
    VerifyCa,
    /// And its common name is the user's.
    VerifyFull,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Trust,
    /// It is turned away.
    Reject,
    /// By its password, in a SCRAM exchange.
    ScramSha256,
    /// By the certificate that it has shown in the TLS handshake.
    Cert,
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A process of this machine, through the Unix socket.
    Local,
    /// An address. One of IPv4 that came in through an IPv6 socket is one of IPv4.
    Address(IpAddr),
}

impl Origin {
    /// From the address of a socket.
    pub fn of(address: IpAddr) -> Self {
        Origin::Address(address.to_canonical())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Local => f.write_str("[local]"),
            Origin::Address(address) => address.fmt(f),
        }
    }
}

/// A connection that asks to be let in.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// From where.
    pub origin: Origin,
    /// Encrypted.
    pub encrypted: bool,
    /// To which database.
    pub database: &'a str,
    /// As which user.
    pub user: &'a str,
    /// Whether the user is a member of a role.
    pub is_member: &'a dyn Fn(&str) -> bool,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HbaError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl Hba {
    /// Reads a file's text. All lines that are wrong are told.
    pub fn parse(text: &str) -> Result<Self, Vec<HbaError>> {
        parse::parse(text).map(|rules| Self { rules })
    }

    /// Rules under which everybody is let in.
    pub fn trusting() -> Self {
        Self::parse("local all all trust\nhost all all all trust\n").expect("these rules are right")
    }

    /// What a connection needs, by the first rule that fits.
    ///
    /// Errors: 28000 if none does, or if it says so.
    pub fn proof(&self, attempt: &Attempt<'_>) -> Result<Proof, SqlError> {
        let refused = |how: &str| {
            let encryption = if attempt.encrypted { "SSL encryption" } else { "no encryption" };
            let (user, database, host) = (attempt.user, attempt.database, attempt.origin);
            let message = format!("{how} host \"{host}\", user \"{user}\", database \"{database}\", {encryption}");
            Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message))
        };
        match self.rules.iter().find(|rule| rule.fits(attempt)).map(|rule| rule.proof) {
            Some(Proof { method: Method::Reject, .. }) => refused("pg_hba.conf rejects connection for"),
            Some(proof) => Ok(proof),
            None => refused("no pg_hba.conf entry for"),
        }
    }

    /// Lines by which somebody on another machine may come in without proof.
    pub fn open_lines(&self) -> impl Iterator<Item = usize> {
        let beyond = |rule: &&Rule| match (rule.kind, rule.addresses) {
            (Kind::Local, _) => false,
            (_, Addresses::All) => true,
            (_, Addresses::Network(address, prefix)) => {
                !(address.is_loopback() && prefix >= if address.is_ipv4() { 8 } else { 128 })
            }
        };
        self.rules.iter().filter(|rule| rule.proof == Proof::by(Method::Trust)).filter(beyond).map(|rule| rule.line)
    }

    /// Lines that fit encrypted connections only.
    pub fn encrypted_lines(&self) -> impl Iterator<Item = usize> {
        self.rules.iter().filter(|rule| rule.kind == Kind::HostTls).map(|rule| rule.line)
    }

    /// Lines that ask for a certificate.
    pub fn certificate_lines(&self) -> impl Iterator<Item = usize> {
        self.rules.iter().filter(|rule| rule.proof.certificate.is_some()).map(|rule| rule.line)
    }
}

impl Rule {
    fn fits(&self, attempt: &Attempt<'_>) -> bool {
        let comes = match (self.kind, attempt.origin) {
            (Kind::Local, Origin::Local) => true,
            (Kind::Local, Origin::Address(_)) | (_, Origin::Local) => false,
            (Kind::Host, _) => true,
            (Kind::HostTls, _) => attempt.encrypted,
            (Kind::HostClear, _) => !attempt.encrypted,
        };
        comes
            && self.addresses.contain(attempt.origin)
            && self.databases.iter().any(|pattern| match pattern {
                DatabasePattern::All => true,
                DatabasePattern::SameUser => attempt.database == attempt.user,
                DatabasePattern::SameRole => (attempt.is_member)(attempt.database),
                DatabasePattern::Replication => false,
                DatabasePattern::Named(name) => name == attempt.database,
            })
            && self.users.iter().any(|pattern| match pattern {
                UserPattern::All => true,
                UserPattern::Named(name) => name == attempt.user,
                UserPattern::MembersOf(role) => (attempt.is_member)(role),
            })
    }
}

impl Addresses {
    fn contain(&self, origin: Origin) -> bool {
        match (self, origin) {
            (Addresses::All, _) | (_, Origin::Local) => true,
            (Addresses::Network(network, prefix), Origin::Address(address)) => same_prefix(*network, address, *prefix),
        }
    }
}

/// Whether two addresses of one family begin with the same bits.
fn same_prefix(a: IpAddr, b: IpAddr, prefix: u32) -> bool {
    let (a, b, width) = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    assert!(prefix <= width, "a prefix is no longer than its address");
    // A shift by all the bits is none that the machine does.
    (a ^ b).checked_shr(width - prefix).is_none_or(|differing| differing == 0)
}

#[cfg(test)]
mod tests;
