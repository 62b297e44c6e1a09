//! The program: read the configuration, then serve, look at a running server or at what a stopped one has left, back up or restore.

use std::process::ExitCode;

use omendb::config::{self, Command};
use omendb::server::{self, backup, latency, offline};
use omendb::wal::OnDamage;

/// Cores hand rows and messages to each other: freeing what another thread allocated must not take a lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let invocation = match config::from_process() {
        Ok(invocation) => invocation,
        Err(refusal) => return ExitCode::from(u8::try_from(refusal.report()).unwrap_or(2)),
    };
    match invocation.command {
        Command::PrintConfig => {
            print!("{}", invocation.to_toml());
            ExitCode::SUCCESS
        }
        Command::Serve { recover_until_corruption } => serve(&invocation.config, recover_until_corruption),
        Command::Check => report(offline::check(&invocation.config)),
        Command::Backup { target } => report(backup::backup(&invocation.config, &target)),
        Command::Latency(options) => report(latency::print(&invocation.config, &options)),
        Command::Restore { source } => report(backup::restore(&invocation.config, &source)),
        Command::InspectLog { writes } => report(offline::inspect_log(&invocation.config, writes)),
    }
}

fn report(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("omendb: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &config::Config, recover_until_corruption: bool) -> ExitCode {
    if let Err(error) = server::logging::init(&config.log) {
        eprintln!("omendb: logging cannot be started: {error}");
        return ExitCode::FAILURE;
    }
    let on_damage = if recover_until_corruption { OnDamage::PassOver } else { OnDamage::Refuse };
    let code = match server::run(config, on_damage) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    };
    server::logging::flush();
    code
}
