//! The command line.
//!
//! Data goes to standard output, messages to standard error. Exit codes: 0 success, 1 failure, 2
//! wrong usage or configuration.

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
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand};

use crate::app::open_existing;
use crate::config::{Config, ConfigError, Settings};
use crate::domain::AccountName;
use crate::files::create_private;
use crate::store::Store;

/// Receives the results of WeChat mass sends, keeps them, and serves them as JSON.
#[derive(Debug, Parser)]
#[command(
    name = "qunfa",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// The configuration file [default: `QUNFA_CONFIG`, else ./config.toml if it exists]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive pushes and serve the API
    ///
    /// If no account is configured, it creates one for trials: `demo`, in plain mode.
    Serve,
    /// Bring the database up to date
    Migrate,
    /// Ask the running server whether it is ready: exit code 0 if it accepts events
    Healthcheck,
    /// Create, check or show the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Create or list keys of the API
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Reprocess stored deliveries, for example after an upgrade that understands more
    Reprocess(ReprocessArgs),
    /// Export jobs as CSV or NDJSON, directly from the database
    Export(Box<export::ExportArgs>),
    /// Remove old raw deliveries; jobs keep everything that they show
    ///
    /// It works in small steps, and can run beside a server. Removed deliveries can no longer be
    /// shown or reprocessed. Without --yes, nothing is removed.
    Prune(prune::PruneArgs),
    /// Back up the SQLite database to a new file, even while a server runs
    ///
    /// The copy is consistent, has everything that was acknowledged before, and only its owner can
    /// read it (mode 0600). For PostgreSQL, use `pg_dump`.
    Backup(backup::BackupArgs),
    /// Copy everything from one database to another, for example from SQLite to PostgreSQL
    ///
    /// The target must be empty; it is migrated. Every row is read back and compared, and the
    /// totals of both databases are printed; either everything is copied or nothing. Stop the
    /// server that writes to the source. A server may start on a PostgreSQL target as soon as the
    /// target is locked: until the copy is done, it keeps what it receives in its spool. Other
    /// users of this machine can see a password in --from or --to with `ps`; use a file instead.
    Copy(copy::CopyArgs),
    /// Show the deliveries in the spool: those that wait for PostgreSQL, and those that it refuses
    Spool(spool::SpoolArgs),
    /// Check configuration, files, database, spool and running server, and push a test result end
    /// to end
    ///
    /// The result has a `MsgID` that cannot be real, is read back, and is removed again. Prints a
    /// line for each check: ok, warn or fail. Run it as the user that runs the server. Exit code 0
    /// if nothing fails.
    Doctor(doctor::DoctorArgs),
    /// Print the OpenAPI 3.1 document of the API, which a server serves at /openapi.json
    Openapi,
    /// Simulate WeChat, for trials and tests
    Simulate {
        #[command(subcommand)]
        command: SimulateCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Write a configuration file that explains every key; never overwrites
    Init {
        /// The file to write [default: --config, else `QUNFA_CONFIG`, else ./config.toml]
        path: Option<PathBuf>,
    },
    /// Report every mistake in the configuration
    Check,
    /// Print the effective values and where each came from; secrets are hidden
    Show,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Print a new random key, and the hash to configure
    Create,
    /// Show the configured keys: what each may do, and when each client last used its key
    List,
}

#[derive(Debug, Args)]
struct ReprocessArgs {
    /// Only deliveries that could not be parsed or opened (the default)
    #[arg(long, conflicts_with = "all")]
    unparsed: bool,
    /// All stored deliveries
    #[arg(long)]
    all: bool,
    /// Only this account
    #[arg(long, value_name = "NAME")]
    account: Option<AccountName>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum SimulateCommand {
    /// Push a signed event, as WeChat does: exit code 0 if every answer is 200 with `success` or
    /// nothing
    Push(Box<simulate::PushArgs>),
    /// Push new events over many connections and report rate and latency: exit code 0 if every
    /// answer is 200 with `success` or nothing
    Load(Box<simulate::LoadArgs>),
    /// Fill the configured database, which must be empty, with made-up past results, to try out
    /// dashboards
    ///
    /// They are written directly to the database, for accounts `seed-1` and so on: the higher the
    /// number, the fewer jobs.
    Seed(simulate::SeedArgs),
}

/// Why a command failed, and its exit code.
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

    /// Prints the error and its causes, without repetition: libraries often quote a cause in the
    /// error above it.
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

/// Runs a command line, which starts with the program's name, and prints what went wrong.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors here, too. If the output is closed, there is nobody to
            // tell.
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

/// Runs a command on the configured store, which must exist, and closes it.
async fn with_store<T>(
    config: &Config,
    command: impl AsyncFnOnce(Arc<dyn Store>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let store = open_existing(config).await?;
    let outcome = command(Arc::clone(&store)).await;
    store.close().await;
    outcome
}

/// Writes to standard output.
fn print(text: impl Display) -> anyhow::Result<()> {
    write!(io::stdout().lock(), "{text}").context("cannot write to standard output")
}

/// Creates a private file, and never overwrites one.
fn new_file(path: &Path) -> anyhow::Result<File> {
    create_private(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow!("`{}` exists already; it was left as it is", path.display())
        }
        _ => anyhow!(error).context(format!("cannot write `{}`", path.display())),
    })
}

/// The address at which this machine reaches its server that listens on `listen`.
fn reachable(listen: SocketAddr) -> SocketAddr {
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
