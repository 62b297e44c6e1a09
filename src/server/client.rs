//! The running server as the program's own commands talk to it: over its first address, as its superuser.

use postgres::NoTls;

use crate::config::Config;

/// Connects to the server that `config` describes, with the password of PGPASSWORD if there is one.
pub(super) fn connect(config: &Config, application: &str) -> Result<postgres::Client, String> {
    let address = config.listen.first().ok_or("the server listens nowhere: see --listen")?;
    let mut client = postgres::Config::new();
    // What listens on every address is reached at this machine's own.
    let host = match address.ip() {
        ip if !ip.is_unspecified() => ip.to_string(),
        ip if ip.is_ipv4() => "127.0.0.1".to_owned(),
        _ => "::1".to_owned(),
    };
    client.host(&host).port(address.port()).dbname("postgres");
    client.user(&config.superuser).application_name(application);
    if let Ok(password) = std::env::var("PGPASSWORD") {
        client.password(password);
    }
    client.connect(NoTls).map_err(|error| format!("cannot connect to {address}: {}", told(&error)))
}

/// What the server said, rather than only that it said something.
pub(super) fn told(error: &postgres::Error) -> String {
    let Some(server) = error.as_db_error() else {
        return std::error::Error::source(error).map_or(error.to_string(), ToString::to_string);
    };
    let hint = server.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{}{hint}", server.message())
}
