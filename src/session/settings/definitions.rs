//! Every setting this server has: its values, its default, what it does.

use crate::error::{SqlError, SqlResult, SqlState};
use crate::session::response::Severity;
use crate::session::settings::Effective;
use crate::session::settings::value::{Unit, invalid, parse_bool, parse_integer, show_integer, split_identifiers};
use crate::txn::Isolation;

/// What `server_version` says: clients read the number in front.
pub const SERVER_VERSION: &str = concat!("15.8 (OmenDB ", env!("CARGO_PKG_VERSION"), ")");

/// Who may change a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, at any time.
    User,
    /// Nobody: it tells what is.
    Fixed,
}

/// The values of a setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// on or off.
    Bool,
    /// A number.
    Integer {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
        /// What it counts.
        unit: Unit,
    },
    /// A floating-point number, at least 0.
    Real,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any text.
    Text,
    /// A text whose meaning decides whether it is valid.
    Meaning,
}

/// A setting.
#[derive(Debug)]
pub struct Definition {
    /// Its name as displayed; looked up without regard to case.
    pub name: &'static str,
    /// The built-in value.
    pub default: &'static str,
    /// Its values.
    pub kind: Kind,
    /// Who may change it.
    pub access: Access,
    /// The values that work; all, if there are none here. Other valid ones answer 0A000.
    pub supported: &'static [&'static str],
    /// The client is told of changes (ParameterStatus).
    pub reported: bool,
    /// Binding a statement depends on it.
    pub bound_by_plans: bool,
    /// RESET ALL leaves it.
    pub kept_by_reset_all: bool,
    /// It may make PostgreSQL faster or slower, never different, and has no effect here.
    pub hint: bool,
    /// What SHOW ALL says about it.
    pub description: &'static str,
}

const BASE: Definition = Definition {
    name: "",
    default: "",
    kind: Kind::Text,
    access: Access::User,
    supported: &[],
    reported: false,
    bound_by_plans: false,
    kept_by_reset_all: false,
    hint: false,
    description: "",
};

const fn timeout(name: &'static str, description: &'static str) -> Definition {
    let kind = Kind::Integer { min: 0, max: i32::MAX as i64, unit: Unit::Milliseconds };
    Definition { name, default: "0", kind, description, ..BASE }
}

const fn fixed(name: &'static str, default: &'static str, description: &'static str) -> Definition {
    Definition { name, default, access: Access::Fixed, description, ..BASE }
}

const fn told(name: &'static str, default: &'static str, description: &'static str) -> Definition {
    Definition { reported: true, ..fixed(name, default, description) }
}

const fn flag(name: &'static str, default: &'static str, supported: &'static [&'static str]) -> Definition {
    Definition { name, default, kind: Kind::Bool, supported, ..BASE }
}

const fn memory(name: &'static str, default: &'static str) -> Definition {
    let kind = Kind::Integer { min: 64, max: i32::MAX as i64, unit: Unit::Kilobytes };
    Definition { name, default, kind, hint: true, description: "A hint without effect on this server.", ..BASE }
}

const fn hint(name: &'static str, default: &'static str, kind: Kind) -> Definition {
    Definition { name, default, kind, hint: true, description: "A hint without effect on this server.", ..BASE }
}

const fn locale(name: &'static str) -> Definition {
    Definition { name, default: "C", supported: &["C", "POSIX", ""], description: "Locale; C.", ..BASE }
}

const LEVELS: &[&str] = &["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error", "debug", "info"];

/// All settings.
pub static DEFINITIONS: &[Definition] = &[
    Definition { name: "application_name", reported: true, description: "The application's name.", ..BASE },
    fixed("authentication_timeout", "1min", "How long a client may take to log in."),
    flag("backslash_quote", "off", &["off"]),
    fixed("block_size", "8192", "Size of a PostgreSQL page; what clients that compute sizes expect."),
    Definition {
        name: "bytea_output",
        default: "hex",
        kind: Kind::Word(&["escape", "hex"]),
        description: "Text format of bytea.",
        ..BASE
    },
    Definition { description: "Accepted; there are no functions to check.", ..flag("check_function_bodies", "on", &[]) },
    timeout("client_connection_check_interval", "How often a running statement's client is looked for."),
    Definition {
        name: "client_encoding",
        default: "UTF8",
        kind: Kind::Meaning,
        reported: true,
        description: "The client's encoding; UTF8.",
        ..BASE
    },
    Definition {
        name: "client_min_messages",
        default: "notice",
        kind: Kind::Word(LEVELS),
        description: "Least severity of messages sent.",
        ..BASE
    },
    Definition {
        name: "DateStyle",
        default: "ISO, MDY",
        kind: Kind::Meaning,
        reported: true,
        bound_by_plans: true,
        description: "Format and reading order of dates.",
        ..BASE
    },
    Definition {
        name: "deadlock_timeout",
        default: "1s",
        kind: Kind::Integer { min: 1, max: i32::MAX as i64, unit: Unit::Milliseconds },
        description: "How long a lock is waited for before a deadlock is looked for.",
        ..BASE
    },
    Definition {
        name: "default_table_access_method",
        default: "heap",
        supported: &["heap"],
        description: "How tables are stored.",
        ..BASE
    },
    Definition { name: "default_tablespace", supported: &[""], description: "There are no tablespaces.", ..BASE },
    Definition { description: "Whether new transactions are deferrable.", ..flag("default_transaction_deferrable", "off", &[]) },
    Definition {
        name: "default_transaction_isolation",
        default: "read committed",
        kind: Kind::Word(ISOLATIONS),
        description: "Isolation level of new transactions.",
        ..BASE
    },
    Definition {
        reported: true,
        description: "Whether new transactions are read-only.",
        ..flag("default_transaction_read_only", "off", &[])
    },
    hint("effective_cache_size", "4GB", Kind::Integer { min: 1, max: i32::MAX as i64, unit: Unit::Kilobytes }),
    hint("effective_io_concurrency", "1", Kind::Integer { min: 0, max: 1000, unit: Unit::None }),
    flag("escape_string_warning", "on", &[]),
    Definition {
        name: "extra_float_digits",
        default: "1",
        kind: Kind::Integer { min: -15, max: 3, unit: Unit::None },
        bound_by_plans: true,
        description: "Digits of floats in text format.",
        ..BASE
    },
    timeout("idle_in_transaction_session_timeout", "Ends a session idle in a transaction for so long."),
    timeout("idle_session_timeout", "Ends a session idle outside a transaction for so long."),
    told("in_hot_standby", "off", "Whether this is a standby."),
    told("integer_datetimes", "on", "Timestamps are integers."),
    Definition {
        name: "IntervalStyle",
        default: "postgres",
        kind: Kind::Word(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]),
        supported: &["postgres"],
        reported: true,
        bound_by_plans: true,
        description: "Text format of intervals.",
        ..BASE
    },
    told("is_superuser", "on", "Whether the user may do everything."),
    flag("jit", "off", &["off"]),
    fixed("lc_collate", "C", "Order of text: by code point."),
    fixed("lc_ctype", "C.UTF-8", "Character classes."),
    locale("lc_messages"),
    locale("lc_monetary"),
    locale("lc_numeric"),
    locale("lc_time"),
    fixed("listen_addresses", "localhost", "Where the server listens."),
    timeout("lock_timeout", "How long a statement waits for a lock."),
    memory("maintenance_work_mem", "64MB"),
    fixed("max_connections", "100", "Client connections at once."),
    fixed("max_identifier_length", "63", "Longest name in bytes."),
    fixed("max_index_keys", "32", "Most columns of a key."),
    hint("max_parallel_workers_per_gather", "0", Kind::Integer { min: 0, max: 1024, unit: Unit::None }),
    Definition {
        name: "password_encryption",
        default: "scram-sha-256",
        kind: Kind::Word(&["md5", "scram-sha-256"]),
        supported: &["scram-sha-256"],
        description: "How new passwords are hashed.",
        ..BASE
    },
    fixed("port", "5433", "The TCP port that the server listens on."),
    flag("quote_all_identifiers", "off", &[]),
    hint("random_page_cost", "4", Kind::Real),
    Definition {
        name: "role",
        default: "none",
        bound_by_plans: true,
        kept_by_reset_all: true,
        description: "The role whose privileges count in place of the session's.",
        ..BASE
    },
    Definition { description: "There are no row security policies.", ..flag("row_security", "on", &[]) },
    Definition {
        name: "search_path",
        default: "\"$user\", public",
        kind: Kind::Meaning,
        bound_by_plans: true,
        description: "Schemas in which names are looked up.",
        ..BASE
    },
    hint("seq_page_cost", "1", Kind::Real),
    told("server_encoding", "UTF8", "The database's encoding."),
    told("server_version", SERVER_VERSION, "The PostgreSQL version whose behaviour this server has."),
    fixed("server_version_num", "150008", "The same as a number."),
    Definition {
        name: "session_authorization",
        reported: true,
        bound_by_plans: true,
        kept_by_reset_all: true,
        description: "The role that the session is for.",
        ..BASE
    },
    Definition {
        name: "session_replication_role",
        default: "origin",
        kind: Kind::Word(&["origin", "replica", "local"]),
        supported: &["origin"],
        description: "Role in replication.",
        ..BASE
    },
    fixed("ssl", "off", "Whether connections are encrypted for clients that ask for it."),
    fixed("ssl_ca_file", "", "The authorities whose certificates of clients are believed."),
    fixed("ssl_cert_file", "server.crt", "The certificate."),
    fixed("ssl_key_file", "server.key", "Its private key."),
    fixed("ssl_min_protocol_version", "TLSv1.2", "The lowest version of TLS."),
    Definition {
        reported: true,
        description: "Backslashes in strings are ordinary.",
        ..flag("standard_conforming_strings", "on", &["on"])
    },
    timeout("statement_timeout", "How long a statement may run."),
    fixed("superuser_reserved_connections", "3", "Connections that are kept for superusers."),
    Definition {
        name: "synchronous_commit",
        default: "on",
        kind: Kind::Word(&["local", "remote_write", "remote_apply", "on", "off"]),
        description: "Whether a commit waits until it is durable.",
        ..BASE
    },
    flag("synchronize_seqscans", "on", &[]),
    Definition { name: "temp_tablespaces", supported: &[""], description: "There are no tablespaces.", ..BASE },
    Definition {
        name: "TimeZone",
        default: "UTC",
        kind: Kind::Meaning,
        reported: true,
        bound_by_plans: true,
        description: "The time zone of timestamptz in text.",
        ..BASE
    },
    Definition { kept_by_reset_all: true, ..fixed("transaction_deferrable", "off", "Whether this transaction is deferrable.") },
    Definition {
        kept_by_reset_all: true,
        ..fixed("transaction_isolation", "read committed", "This transaction's isolation level.")
    },
    Definition { kept_by_reset_all: true, ..fixed("transaction_read_only", "off", "Whether this transaction is read-only.") },
    timeout("transaction_timeout", "Ends a session whose transaction lasts so long."),
    memory("work_mem", "4MB"),
    Definition {
        name: "xmloption",
        default: "content",
        kind: Kind::Word(&["content", "document"]),
        supported: &["content"],
        description: "There is no type xml.",
        ..BASE
    },
];

const ISOLATIONS: &[&str] = &["serializable", "repeatable read", "read committed", "read uncommitted"];

/// Settings that PostgreSQL has and that would mean something: refused by name, and not as unknown.
const UNSUPPORTED: &[&str] = &[
    "array_nulls",
    "constraint_exclusion",
    "createrole_self_grant",
    "gin_fuzzy_search_limit",
    "local_preload_libraries",
    "log_statement",
    "log_min_duration_statement",
    "plan_cache_mode",
    "session_preload_libraries",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "temp_buffers",
    "transform_null_equals",
    "vacuum_freeze_min_age",
    "xmlbinary",
    "zero_damaged_pages",
];

/// The setting of a name, without regard to case.
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name.eq_ignore_ascii_case(name))
}

/// The name, if PostgreSQL has a setting of this name and this server has not.
pub fn unsupported(name: &str) -> Option<&str> {
    let planner_switch = name.starts_with("enable_") || name.starts_with("geqo") || name.starts_with("cpu_");
    (planner_switch || UNSUPPORTED.contains(&name)).then_some(name)
}

impl Definition {
    /// A value in the form that is stored and shown.
    pub fn canonical(&self, value: &str) -> SqlResult<String> {
        let canonical = match self.kind {
            Kind::Bool => match parse_bool(value) {
                Some(true) => "on".to_owned(),
                Some(false) => "off".to_owned(),
                None => {
                    let message = format!("parameter \"{}\" requires a Boolean value", self.name);
                    return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
                }
            },
            Kind::Integer { min, max, unit } => {
                let number = parse_integer(value, unit).ok_or_else(|| invalid(self.name, value))?;
                if !(min..=max).contains(&number) {
                    let unit = match unit {
                        Unit::None => "",
                        Unit::Milliseconds => " ms",
                        Unit::Kilobytes => " kB",
                    };
                    let name = self.name;
                    let message = format!("{number}{unit} is outside the valid range for parameter \"{name}\" ({min} .. {max})");
                    return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
                }
                show_integer(number, unit)
            }
            Kind::Real => match value.trim().parse::<f64>() {
                Ok(number) if number >= 0.0 && number.is_finite() => number.to_string(),
                _ => return Err(invalid(self.name, value)),
            },
            Kind::Word(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(value.trim()));
                let available = || format!("Available values: {}.", words.join(", "));
                (*word.ok_or_else(|| invalid(self.name, value).hint(available()))?).to_owned()
            }
            Kind::Text | Kind::Meaning => return self.canonical_text(value),
        };
        self.check_supported(canonical)
    }

    fn check_supported(&self, value: String) -> SqlResult<String> {
        if self.supported.is_empty() || self.supported.contains(&value.as_str()) {
            return Ok(value);
        }
        Err(SqlError::unsupported(format!("parameter \"{}\" with the value \"{value}\"", self.name)))
    }

    fn canonical_text(&self, value: &str) -> SqlResult<String> {
        match self.name {
            "client_encoding" => {
                let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
                match plain.to_ascii_lowercase().as_str() {
                    "utf8" | "unicode" => Ok("UTF8".to_owned()),
                    "" => Err(invalid(self.name, value)),
                    _ => Err(SqlError::unsupported(format!("client_encoding {value}"))),
                }
            }
            // PostgreSQL replaces what is not printable ASCII, and cuts at the length of a name.
            "application_name" => {
                let clean = value.chars().take(63).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
                Ok(clean.collect())
            }
            "search_path" => match split_identifiers(value) {
                Some(_) => Ok(value.to_owned()),
                None => Err(invalid(self.name, value).detail("List syntax is invalid.")),
            },
            "DateStyle" | "TimeZone" => {
                let mut trial = Effective::default();
                apply(self.static_definition(), value, &mut trial)?;
                Ok(if self.name == "TimeZone" { trial.format.time_zone().to_owned() } else { value.to_owned() })
            }
            _ => self.check_supported(value.to_owned()),
        }
    }

    fn static_definition(&self) -> &'static Definition {
        definition(self.name).expect("definitions are made in the table only")
    }
}

/// Gives a canonical value its effect, where it has one that the session keeps ready.
pub fn apply(definition: &'static Definition, value: &str, effective: &mut Effective) -> SqlResult<()> {
    match definition.name {
        "DateStyle" => effective.format.set_date_style(value)?,
        "TimeZone" => effective.format.set_time_zone(value)?,
        "bytea_output" => effective.format.set_bytea_output(value)?,
        "extra_float_digits" => effective.format.set_extra_float_digits(integer(value, Unit::None).cast_signed())?,
        "search_path" => {
            let names = split_identifiers(value).ok_or_else(|| invalid(definition.name, value))?;
            effective.search_path = names.into_iter().filter(|name| name != "$user" && name != "pg_catalog").collect();
        }
        "statement_timeout" => effective.statement_timeout_ms = integer(value, Unit::Milliseconds),
        "lock_timeout" => effective.lock_timeout_ms = integer(value, Unit::Milliseconds),
        "idle_in_transaction_session_timeout" => {
            effective.idle_in_transaction_timeout_ms = integer(value, Unit::Milliseconds);
        }
        "deadlock_timeout" => effective.deadlock_timeout_ms = integer(value, Unit::Milliseconds),
        "transaction_timeout" => effective.transaction_timeout_ms = integer(value, Unit::Milliseconds),
        "idle_session_timeout" => effective.idle_timeout_ms = integer(value, Unit::Milliseconds),
        "client_connection_check_interval" => effective.check_interval_ms = integer(value, Unit::Milliseconds),
        "client_min_messages" => effective.message_min = severity(value),
        "default_transaction_isolation" => {
            effective.isolation = isolation(value).ok_or_else(|| invalid(definition.name, value))?;
        }
        "default_transaction_read_only" => effective.read_only = value == "on",
        "default_transaction_deferrable" => effective.deferrable = value == "on",
        "synchronous_commit" => effective.synchronous_commit = value != "off",
        _ => {}
    }
    Ok(())
}

/// A number that has passed its definition's range.
fn integer(canonical: &str, unit: Unit) -> u32 {
    let number = parse_integer(canonical, unit).expect("a canonical value can be read back");
    (number as i32).cast_unsigned()
}

fn severity(level: &str) -> Severity {
    match level {
        "log" => Severity::Log,
        "info" => Severity::Info,
        "notice" => Severity::Notice,
        "warning" => Severity::Warning,
        "error" => Severity::Error,
        _ => Severity::Debug,
    }
}

/// An isolation level by its name; READ UNCOMMITTED is READ COMMITTED, as in PostgreSQL.
pub fn isolation(name: &str) -> Option<Isolation> {
    match name {
        "read committed" | "read uncommitted" => Some(Isolation::ReadCommitted),
        "repeatable read" => Some(Isolation::RepeatableRead),
        "serializable" => Some(Isolation::Serializable),
        _ => None,
    }
}
