//! Where each value comes from: flag before environment before file before default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction};

use crate::auth::Secret;

use super::settings::{self, ENVIRONMENT_PREFIX, FILE_VARIABLE, PASSWORD_VARIABLE, SETTINGS, Setting};
use super::{Config, ConfigError, Machine, Refusal, typed};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The TOML file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A command-line flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => write!(f, "by default"),
            Source::File(path) => write!(f, "in the file {}", path.display()),
            Source::Environment(variable) => write!(f, "from the environment variable {variable}"),
            Source::Flag(flag) => write!(f, "from the flag {flag}"),
        }
    }
}

/// The flag of `serve`.
const RECOVER_UNTIL_CORRUPTION: &str = "recover-until-corruption";

/// What the program is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve.
    Serve {
        /// Start without what damaged files held. Only this one start: neither a setting nor the environment can ask for it.
        recover_until_corruption: bool,
    },
    /// Print the resolved configuration and stop.
    PrintConfig,
    /// Verify the data directory of a stopped server.
    Check,
    /// Print the log of a stopped server.
    InspectLog {
        /// With every write.
        writes: bool,
    },
    /// Have the running server write a backup.
    Backup {
        /// The directory that it is to be.
        target: PathBuf,
    },
    /// Print the latencies of the running server.
    Latency(LatencyOptions),
    /// Make the data directory from a backup.
    Restore {
        /// The backup.
        source: PathBuf,
    },
}

/// What of the latencies is printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyOptions {
    /// Those of each interval of so many seconds, instead of those since the last reset.
    pub interval: Option<Duration>,
    /// How many intervals; `None`: until the program is ended.
    pub intervals: Option<u64>,
    /// The histograms of each interval go into this file, in the log format of HdrHistogram.
    pub log: Option<PathBuf>,
    /// Start over first.
    pub reset: bool,
}

/// A command with its configuration.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// The configuration.
    pub config: Config,
    /// Every setting's text and source, in the order of [`SETTINGS`].
    pub texts: Vec<(&'static Setting, String, Source)>,
}

impl Invocation {
    /// The configuration as a TOML file, each value with its source as a comment.
    pub fn to_toml(&self) -> String {
        let line = |(setting, text, source): &(&Setting, String, Source)| {
            format!("{} = {}  # {source}\n", setting.key, toml::Value::String(text.clone()))
        };
        self.texts.iter().map(line).collect()
    }
}

/// Values as text, by key.
pub(super) type Texts = BTreeMap<&'static str, (String, Source)>;

fn directory_argument(help: &'static str) -> Arg {
    Arg::new("directory").value_name("DIR").value_parser(clap::value_parser!(PathBuf)).required(true).help(help)
}

fn directory(matches: &clap::ArgMatches) -> PathBuf {
    matches.get_one::<PathBuf>("directory").expect("clap asks for it").clone()
}

pub(super) fn resolve(
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    machine: &Machine,
) -> Result<Invocation, Refusal> {
    let matches = command_line().try_get_matches_from(arguments).map_err(|error| Refusal::Clap(Box::new(error)))?;
    // Global flags may stand before or behind the subcommand; clap copies them to where the subcommand is.
    let (command, matches) = match matches.subcommand() {
        Some(("config", inner)) => (Command::PrintConfig, inner.clone()),
        Some(("check", inner)) => (Command::Check, inner.clone()),
        Some(("wal", inner)) => match inner.subcommand() {
            Some((_inspect, inner)) => (Command::InspectLog { writes: inner.get_flag("writes") }, inner.clone()),
            None => unreachable!("clap asks for the subcommand"),
        },
        Some(("backup", inner)) => (Command::Backup { target: directory(inner) }, inner.clone()),
        Some(("latency", inner)) => {
            let seconds = |name: &str| inner.get_one::<u64>(name).copied();
            let options = LatencyOptions {
                interval: seconds("interval").map(Duration::from_secs),
                intervals: seconds("intervals"),
                log: inner.get_one::<PathBuf>("log").cloned(),
                reset: inner.get_flag("reset"),
            };
            (Command::Latency(options), inner.clone())
        }
        Some(("restore", inner)) => (Command::Restore { source: directory(inner) }, inner.clone()),
        Some((_, inner)) => {
            (Command::Serve { recover_until_corruption: inner.get_flag(RECOVER_UNTIL_CORRUPTION) }, inner.clone())
        }
        None => (Command::Serve { recover_until_corruption: false }, matches),
    };
    let mut errors = Vec::new();
    let mut texts: Texts = SETTINGS.iter().map(|s| (s.key, (s.default.to_string(), Source::Default))).collect();
    let from_flag = matches.get_one::<PathBuf>("config").cloned();
    let from_variable = environment.iter().find(|(key, _)| key == FILE_VARIABLE).map(|(_, path)| PathBuf::from(path));
    if let Some(path) = from_flag.or(from_variable) {
        apply_file(&path, &mut texts, &mut errors);
    }
    let password = password(&environment, &mut errors);
    apply_environment(environment, &mut texts, &mut errors);
    for setting in SETTINGS {
        if let Some(values) = matches.get_many::<String>(setting.key) {
            let text = values.map(String::as_str).collect::<Vec<_>>().join(",");
            texts.insert(setting.key, (text, Source::Flag(format!("--{}", setting.flag()))));
        }
    }
    let config = typed::parse(&texts, machine, &mut errors).map(|config| Config { superuser_password: password, ..config });
    match config {
        Some(config) if errors.is_empty() => {
            let of_setting = |setting: &'static Setting| {
                let (text, source) = texts[setting.key].clone();
                (setting, text, source)
            };
            Ok(Invocation { command, config, texts: SETTINGS.iter().map(of_setting).collect() })
        }
        _ => {
            assert!(!errors.is_empty(), "a configuration is missing only for a reason");
            Err(Refusal::Settings(errors))
        }
    }
}

fn command_line() -> clap::Command {
    let mut command = clap::Command::new("omendb")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .after_help(
            "Every setting can also be an environment variable (OMENDB_DATA_DIR) or a key of the TOML file (data_dir).\n\
             Flags come before the environment, the environment before the file.",
        )
        .subcommand(clap::Command::new("serve").about("Run the server (what happens without a subcommand)").arg(
            Arg::new(RECOVER_UNTIL_CORRUPTION).long(RECOVER_UNTIL_CORRUPTION).action(ArgAction::SetTrue).help(
                "Start even though files are damaged: keep everything before the first commit that is lost, drop what came \
                     after it, put the damaged files aside",
            ),
        ))
        .subcommand(clap::Command::new("config").about("Print the resolved configuration and where each value comes from"))
        .subcommand(clap::Command::new("check").about("Verify the data directory of a stopped server from end to end"))
        .subcommand(
            clap::Command::new("backup")
                .about("Have the running server write a backup, as its superuser; PGPASSWORD has the password")
                .arg(directory_argument("Directory that the backup is to be, on the server's machine")),
        )
        .subcommand(latency_command())
        .subcommand(
            clap::Command::new("restore")
                .about("Verify a backup and make a new data directory of it")
                .arg(directory_argument("The backup")),
        )
        .subcommand(
            clap::Command::new("wal")
                .about("Look at the write-ahead log of a stopped server")
                .subcommand_required(true)
                .subcommand(clap::Command::new("inspect").about("Print every record, verifying it").arg(
                    Arg::new("writes").long("writes").action(ArgAction::SetTrue).help("Print the writes of each record, too"),
                )),
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .global(true)
                .help("TOML file with settings [env: OMENDB_CONFIG]"),
        );
    for setting in SETTINGS {
        let help = format!("{} [default: {}]", setting.help, setting.default);
        let arg = Arg::new(setting.key).long(setting.flag()).value_name(setting.placeholder).global(true).help(help);
        // Only `listen` is a list that may be given flag by flag.
        let action = if setting.key == "listen" { ArgAction::Append } else { ArgAction::Set };
        command = command.arg(arg.action(action));
    }
    command
}

fn latency_command() -> clap::Command {
    let number = |name: &'static str| {
        Arg::new(name).long(name).value_name("COUNT").value_parser(clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))
    };
    clap::Command::new("latency")
        .about("Print the running server's latencies by core, statement and stage, as its superuser; PGPASSWORD has the password")
        .arg(number("interval").help("Those of each interval of so many seconds, instead of those since the last reset"))
        .arg(number("intervals").requires("interval").help("How many intervals; without it, until the program is ended"))
        .arg(
            Arg::new("log")
                .long("log")
                .value_name("FILE")
                .requires("interval")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Write the histograms of each interval into this file, in the log format of HdrHistogram"),
        )
        .arg(Arg::new("reset").long("reset").action(ArgAction::SetTrue).help("Let the server start over first"))
}

fn apply_file(path: &Path, texts: &mut Texts, errors: &mut Vec<ConfigError>) {
    let source = Source::File(path.to_path_buf());
    let mut refuse = |key: &str, message: String| {
        errors.push(ConfigError { key: key.to_string(), source: source.clone(), message });
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return refuse("", format!("it cannot be read: {error}")),
    };
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return refuse("", format!("it is not TOML: {error}")),
    };
    for (key, value) in table {
        let Some(setting) = settings::find(&key) else {
            refuse(&key, format!("there is no such setting; the settings are {}", known()));
            continue;
        };
        match file_text(&value) {
            Some(text) => {
                texts.insert(setting.key, (text, source.clone()));
            }
            None => refuse(&key, "the value must be a string, a number or a list of them".to_string()),
        }
    }
}

/// A value of the file as the text a flag would have.
fn file_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Array(parts) => {
            let parts: Option<Vec<String>> =
                parts.iter().map(|part| (!part.is_array()).then(|| file_text(part)).flatten()).collect();
            Some(parts?.join(","))
        }
        _ => None,
    }
}

fn known() -> String {
    SETTINGS.iter().map(|setting| setting.key).collect::<Vec<_>>().join(", ")
}

fn password(environment: &[(String, OsString)], errors: &mut Vec<ConfigError>) -> Option<Secret> {
    let (_, value) = environment.iter().find(|(key, _)| key == PASSWORD_VARIABLE)?;
    match value.to_str() {
        Some(password) if !password.is_empty() => Some(Secret::new(password)),
        _ => {
            let source = Source::Environment(PASSWORD_VARIABLE.to_string());
            errors.push(ConfigError { key: String::new(), source, message: "it must be text, and not empty".to_string() });
            None
        }
    }
}

fn apply_environment(environment: Vec<(String, OsString)>, texts: &mut Texts, errors: &mut Vec<ConfigError>) {
    for (variable, value) in environment {
        if !variable.starts_with(ENVIRONMENT_PREFIX)
            || [FILE_VARIABLE, PASSWORD_VARIABLE].contains(&variable.as_str())
            || is_not_meant_for_us(&variable)
        {
            continue;
        }
        let source = Source::Environment(variable.clone());
        let key = variable[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase();
        let setting = settings::find(&key).filter(|setting| setting.variable() == variable);
        match (setting, value.into_string()) {
            (Some(setting), Ok(text)) => {
                texts.insert(setting.key, (text, source));
            }
            (Some(_), Err(_)) => errors.push(ConfigError { key, source, message: "it is not UTF-8".to_string() }),
            (None, _) => {
                let message = format!("there is no such setting; the settings are {}", known());
                errors.push(ConfigError { key, source, message });
            }
        }
    }
}

/// Variables with our prefix that are no settings: what Kubernetes sets in every container beside a service called "omendb", and
/// what the simulator's tests read, in whose environment a server may be started too.
fn is_not_meant_for_us(variable: &str) -> bool {
    let prefixes = ["OMENDB_SERVICE_", "OMENDB_PORT_", "OMENDB_SIM_"];
    variable == "OMENDB_PORT" || prefixes.iter().any(|prefix| variable.starts_with(prefix))
}
