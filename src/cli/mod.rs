//! The command line: its types, and which function each command is.
//!
//! Data goes to standard output, talk to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

mod backup;
mod config;
mod copy;
mod doctor;
mod export;
mod healthcheck;
mod key;
mod migrate;
mod openapi;
mod prune;
mod reprocess;
mod secret;
mod serve;
mod simulate;
mod spool;
mod systemd;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigError, Settings};
use crate::domain::AccountName;

/// Receives the results of WeChat mass sends, keeps them, and serves them as JSON.
#[derive(Debug, Parser)]
#[command(
    name = "qunfa",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// The configuration file [default: that of `QUNFA_CONFIG`, else ./config.toml if it is there]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive pushes and serve the API
    ///
    /// With no account configured, it makes one for trials: `demo`, in plain mode.
    Serve,
    /// Bring the database up to date
    Migrate,
    /// Ask a running server whether it is ready: exit code 0 when events are accepted
    Healthcheck,
    /// Make, check or show the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Keys of the API
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Read stored deliveries again, for instance after an upgrade that understands more
    Reprocess(ReprocessArgs),
    /// Write the list of jobs, or a part of it, as CSV or NDJSON, straight from the database
    Export(Box<export::ExportArgs>),
    /// Remove old raw deliveries; the jobs stay, with all that they show
    ///
    /// It works in small steps, also beside a running server. What is removed can no longer be shown or read again. Without
    /// --yes, nothing is removed.
    Prune(prune::PruneArgs),
    /// Copy the SQLite database into a new file, also beside a running server
    ///
    /// The copy is consistent, holds all that was acknowledged before, and is for the user's eyes only (mode 0600). For
    /// PostgreSQL, use `pg_dump`.
    Backup(backup::BackupArgs),
    /// Copy everything from one database into another, for instance from SQLite into PostgreSQL
    ///
    /// The target must be empty; it is migrated. Every row is read back and compared, and the sums of both sides are printed;
    /// there is a whole copy or none. Stop the server that writes to the source. A server may start on a PostgreSQL target as
    /// soon as that is locked: until the copy is done, it keeps what comes in its spool. A password in --from or --to can be
    /// seen by other users of this machine, as `ps` shows it; one in a file cannot.
    Copy(copy::CopyArgs),
    /// Show what waits in the spool for a PostgreSQL server that is away, and what that server refuses
    Spool(spool::SpoolArgs),
    /// Check configuration, files, database, spool and the running server, and push a result through the whole path
    ///
    /// The result has a `MsgID` that cannot be real, is read back, and is removed again. One line for each check: ok, warn or
    /// fail. Run it as the user that runs the server: exit code 0 when nothing fails.
    Doctor(doctor::DoctorArgs),
    /// Print the document of the API, OpenAPI 3.1, which a server serves at /openapi.json
    Openapi,
    /// Play WeChat's side, for trials and tests
    Simulate {
        #[command(subcommand)]
        command: SimulateCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Write a configuration file with every key explained; never overwrites
    Init {
        /// Where to [default: that of --config or `QUNFA_CONFIG`, else ./config.toml]
        path: Option<PathBuf>,
    },
    /// Report every mistake in the configuration
    Check,
    /// Print the effective values and where each came from; secrets are hidden
    Show,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Print a new random key, and the line to configure
    Create,
    /// Show whose keys are configured, what each may do, and when each client has last used its own
    List,
}

#[derive(Debug, Args)]
struct ReprocessArgs {
    /// Only what could not be understood or opened so far (the default)
    #[arg(long, conflicts_with = "all")]
    unparsed: bool,
    /// Everything that is stored
    #[arg(long)]
    all: bool,
    /// Only this account
    #[arg(long, value_name = "NAME")]
    account: Option<AccountName>,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum SimulateCommand {
    /// Push a signed event, as WeChat does: exit code 0 when every answer is 200 with `success` or nothing
    Push(Box<simulate::PushArgs>),
    /// Push new events over many connections and report what the server took, and how fast: exit code 0 when every
    /// answer is 200 with `success` or nothing
    Load(Box<simulate::LoadArgs>),
    /// Fill the empty database of the configuration with made-up results of the past, to try out dashboards
    ///
    /// They go into the database itself, without a push, to accounts `seed-1` and so on: fewer jobs the higher the number.
    Seed(simulate::SeedArgs),
}

/// Why a command did not do its work, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// Wrong usage or configuration.
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            code: 2,
            error: error.into(),
        }
    }

    /// The error and its causes; libraries often repeat a cause in what it caused.
    fn print(&self) {
        eprintln!("error: {}", self.error);
        let mut said = String::new();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            if !said.contains(&cause) {
                eprintln!("  because: {cause}");
                said = cause;
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: 1, error }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

type Outcome = Result<(), Failure>;

/// Runs a command line, the program's name first, and prints what went wrong.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. A closed output is nobody's mistake.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let settings = || Settings::load(cli.config.as_deref(), std::env::vars_os());
    match cli.command {
        Command::Serve => {
            let inherited = systemd::inherited_listener()?;
            block_on(serve::run(&settings()?, cli.config.as_deref(), inherited))
        }
        Command::Migrate => block_on(migrate::run(&settings()?)),
        Command::Healthcheck => block_on(healthcheck::run(&settings()?)),
        Command::Config { command } => match command {
            ConfigCommand::Init { path } => config::init(path.or(cli.config)),
            ConfigCommand::Check => config::check(&settings()?),
            ConfigCommand::Show => config::show(&settings()?),
        },
        Command::Key { command } => match command {
            KeyCommand::Create => key::create(),
            KeyCommand::List => block_on(key::list(&settings()?)),
        },
        Command::Reprocess(arguments) => block_on(reprocess::run(&settings()?, arguments)),
        Command::Export(arguments) => block_on(export::run(&settings()?, *arguments)),
        Command::Prune(arguments) => block_on(prune::run(&settings()?, arguments)),
        Command::Backup(arguments) => block_on(backup::run(&settings()?, arguments)),
        Command::Copy(arguments) => block_on(copy::run(&settings()?, arguments)),
        Command::Spool(arguments) => block_on(spool::run(&settings()?, arguments)),
        Command::Doctor(arguments) => block_on(doctor::run(settings, arguments)),
        Command::Openapi => openapi::run(),
        Command::Simulate { command } => match command {
            SimulateCommand::Push(arguments) => block_on(simulate::push(settings, *arguments)),
            SimulateCommand::Load(arguments) => block_on(simulate::load(settings, *arguments)),
            SimulateCommand::Seed(arguments) => block_on(simulate::seed(&settings()?, arguments)),
        },
    }
}

fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    runtime.block_on(command)
}

/// The address at which a server of this machine that listens on `listen` is reached.
fn reachable(listen: std::net::SocketAddr) -> std::net::SocketAddr {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => {
            (Ipv4Addr::LOCALHOST, address.port()).into()
        }
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            (Ipv6Addr::LOCALHOST, address.port()).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wildcard_address_is_reached_on_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            let reached = reachable(listen.parse().unwrap());
            assert_eq!(reached.to_string(), expected);
        }
    }
}
