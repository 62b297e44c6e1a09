//! What is read of X.509 certificates. rustls checks them; here are the names in them, and how they were signed.
//!
//! Source: RFC 5280; names are written as PostgreSQL writes them (`X509_NAME_to_cstring`, with the escapes of RFC 2253).

use std::fmt::Write as _;

use num_bigint::BigUint;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{
    ContextSpecific, Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef,
};
use x509_cert::der::{Decode, Reader, TagNumber};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::catalog::system::live::ClientCertificate;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// RSASSA-PSS, whose parameters name the hash.
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// The short names by which OpenSSL, and so PostgreSQL, knows the parts of a name.
const SHORT_NAMES: &[(ObjectIdentifier, &str)] = &[
    (COMMON_NAME, "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.4"), "SN"),
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "serialNumber"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "street"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.12"), "title"),
    (ObjectIdentifier::new_unwrap("2.5.4.42"), "GN"),
    (ObjectIdentifier::new_unwrap("2.5.4.46"), "dnQualifier"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"), "emailAddress"),
];

/// The hash of a certificate that channel binding of the type `tls-server-end-point` binds to (RFC 5929, section 4.1): by the hash of
/// its signature, SHA-256 in place of MD5 and SHA-1. `None` if the signature has no hash (Ed25519): then there is nothing to bind to.
pub(super) fn end_point_hash(der: &[u8]) -> Option<Box<[u8]>> {
    let certificate = Certificate::from_der(der).ok()?;
    Some(match signature_hash(&certificate.signature_algorithm)? {
        Hash::Sha224 => Sha224::digest(der).as_slice().into(),
        Hash::Sha256 => Sha256::digest(der).as_slice().into(),
        Hash::Sha384 => Sha384::digest(der).as_slice().into(),
        Hash::Sha512 => Sha512::digest(der).as_slice().into(),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

fn signature_hash(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    if algorithm.oid == RSA_PSS {
        return pss_hash(algorithm);
    }
    Some(match algorithm.oid.to_string().as_str() {
        // MD5 and SHA-1 with RSA, SHA-1 with DSA and ECDSA.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10040.4.3" | "1.2.840.10045.4.1" => Hash::Sha256,
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" | "2.16.840.1.101.3.4.3.1" => Hash::Sha224,
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" | "2.16.840.1.101.3.4.3.2" => Hash::Sha256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Hash::Sha384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Hash::Sha512,
        _ => return None,
    })
}

/// RSASSA-PSS-params (RFC 4055, section 3.1): the first of them, SHA-1 if it is not there.
fn pss_hash(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    let hash = algorithm.parameters.as_ref()?.sequence(|reader| {
        let hash = ContextSpecific::<AlgorithmIdentifierOwned>::decode_explicit(reader, TagNumber::N0)?;
        reader.read_slice(reader.remaining_len())?;
        Ok(hash)
    });
    Some(match hash.ok()?.map(|hash| hash.value.oid.to_string()).as_deref() {
        None | Some("1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1") => Hash::Sha256,
        Some("2.16.840.1.101.3.4.2.2") => Hash::Sha384,
        Some("2.16.840.1.101.3.4.2.3") => Hash::Sha512,
        Some("2.16.840.1.101.3.4.2.4") => Hash::Sha224,
        Some(_) => return None,
    })
}

/// Who a certificate that has been checked is for; `None` if it cannot be read.
pub(super) fn client_certificate(der: &[u8]) -> Option<ClientCertificate> {
    let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
    Some(ClientCertificate {
        common_name: common_name(&certificate.subject),
        subject: name(&certificate.subject),
        issuer: name(&certificate.issuer),
        serial: BigUint::from_bytes_be(certificate.serial_number.as_bytes()).to_string(),
    })
}

/// The first common name. One with a NUL in it is none: other programs would read half of it.
fn common_name(name: &Name) -> Option<String> {
    let mut parts = name.0.iter().flat_map(|part| part.0.iter());
    let text = text(parts.find(|part| part.oid == COMMON_NAME)?)?;
    (!text.is_empty() && !text.contains('\0')).then_some(text)
}

fn name(name: &Name) -> String {
    let mut written = String::new();
    for part in name.0.iter().flat_map(|part| part.0.iter()) {
        let known = SHORT_NAMES.iter().find(|(oid, _)| *oid == part.oid);
        let kind = known.map_or_else(|| part.oid.to_string(), |(_, name)| (*name).to_owned());
        written.push('/');
        written.push_str(&kind);
        written.push('=');
        match text(part) {
            Some(text) => escape(&text, &mut written),
            // As RFC 2253 has it for what is no text.
            None => {
                written.push('#');
                for byte in part.value.value() {
                    write!(written, "{byte:02X}").expect("a string takes every byte");
                }
            }
        }
    }
    written
}

fn text(part: &AttributeTypeAndValue) -> Option<String> {
    let value = &part.value;
    let utf8 = value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned());
    utf8.or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned()))
        .or_else(|_| value.decode_as::<Ia5StringRef<'_>>().map(|text| text.as_str().to_owned()))
        .or_else(|_| value.decode_as::<TeletexStringRef<'_>>().map(|text| text.as_str().to_owned()))
        .ok()
}

fn escape(text: &str, out: &mut String) {
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => out.extend(['\\', c]),
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            c if c.is_ascii_control() => write!(out, "\\{:02X}", u32::from(c)).expect("a string takes every character"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SignatureAlgorithm};

    use super::*;

    fn signed(algorithm: &'static SignatureAlgorithm, names: &[(DnType, &str)]) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn the_hash_follows_from_the_signature() {
        let der = signed(&rcgen::PKCS_ECDSA_P256_SHA256, &[]);
        assert_eq!(end_point_hash(&der).as_deref(), Some(Sha256::digest(&der).as_slice()));
        let der = signed(&rcgen::PKCS_ECDSA_P384_SHA384, &[]);
        assert_eq!(end_point_hash(&der).as_deref(), Some(Sha384::digest(&der).as_slice()));
        assert_eq!(end_point_hash(&signed(&rcgen::PKCS_ED25519, &[])), None, "its signature has no hash of its own");
        assert_eq!(end_point_hash(b"no certificate"), None);
    }

    #[test]
    fn names_are_written_as_postgresql_writes_them() {
        let names = [
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Shop, Ltd"),
            (DnType::OrganizationalUnitName, "B\u{fc}ro"),
            (DnType::CommonName, "ann"),
        ];
        let certificate = client_certificate(&signed(&rcgen::PKCS_ECDSA_P256_SHA256, &names)).expect("it can be read");
        assert_eq!(certificate.subject, "/C=DE/O=Shop\\, Ltd/OU=B\u{fc}ro/CN=ann");
        assert_eq!(certificate.issuer, certificate.subject, "it is signed by itself");
        assert_eq!(certificate.common_name.as_deref(), Some("ann"));
        assert!(!certificate.serial.is_empty() && certificate.serial.bytes().all(|byte| byte.is_ascii_digit()));
        for wrong in ["", "ann\0.example"] {
            let der = signed(&rcgen::PKCS_ECDSA_P256_SHA256, &[(DnType::CommonName, wrong)]);
            assert_eq!(client_certificate(&der).expect("it can be read").common_name, None, "{wrong:?}");
        }
        let mut written = String::new();
        escape("#a \n+\u{e9} ", &mut written);
        assert_eq!(written, "\\#a \\0A\\+\u{e9}\\ ");
    }
}
