//! All tests that cross a boundary, in one binary. Run it with `scripts/test`, which starts the
//! PostgreSQL that it needs.
//!
//! - `access`: permissions: every route with every kind of key.
//! - `api_answers`: conditional and compressed responses of the API, and CORS.
//! - `api_docs`: the examples in the documents on the API and the database work.
//! - `api_errors`: error responses of the API.
//! - `api_limits`: how far one API client can affect others, and pushes.
//! - `api_stats`: totals, and timelines in a time zone.
//! - `api`: every route of the API, its shapes, filters and pages.
//! - `backup`: a complete copy of the SQLite file, made while the server writes.
//! - `batch_ids`: a spool that is cloned, restored or upgraded, and repeated ids.
//! - `callback`: what makes a push authentic in each mode.
//! - `dashboards`: dashboards and alert rules use metrics and columns that exist.
//! - `database_tls`: TLS to PostgreSQL, and what each `sslmode` checks.
//! - `copy`: moving everything from one database to another without loss.
//! - `docs_page`: the documentation page in a real browser.
//! - `doctor`: the checks of `qunfa doctor`, which leaves nothing behind.
//! - `stream`: the live stream of changed jobs (server-sent events).
//! - `durability`: acknowledged means kept: kills, concurrent pushes, locks and a full disk.
//! - `export`: the list of jobs as one file, from the server and from the command line.
//! - `failover`: the stream and the totals when PostgreSQL crashes, is restored, or a standby takes
//!   over.
//! - `faults`: faults of every kind under load; nothing acknowledged is lost.
//! - `in_doubt`: a connection to PostgreSQL that breaks during a commit.
//! - `clocks`: a clock that jumps.
//! - `kept`: which authentic pushes are kept.
//! - `openapi`: the OpenAPI document matches the API.
//! - `outage`: the database is unavailable, and available again.
//! - `outcome`: every form of the event results in the right job.
//! - `page`: the page in a real browser.
//! - `page_files`: how the files of the page are served, also by proxies, and what they must never
//!   contain.
//! - `page_live`: the page as results arrive, and while the database is unavailable.
//! - `page_pictures`: screenshots of every view, for review.
//! - `prune`: removing old raw deliveries, by command or configuration; jobs stay unchanged.
//! - `refusals`: every refusal is the same constant 403 and leaves nothing behind.
//! - `replay`: a query string that was accepted is refused with another body.
//! - `replicas`: four servers on one PostgreSQL count every job once and give the same answers.
//! - `reprocess`: stored deliveries are read again.
//! - `spool_edges`: PostgreSQL is unavailable at the start, refuses a delivery, or is unavailable
//!   while the disk is full.
//! - `store_agreement`: both stores give the same results for the same random calls.
//! - `store_batches`: a batch has the same result as its deliveries one by one, and counts once.
//! - `store_changes`: the order of changes.
//! - `store_contract`: the contract of both stores for recording and reading.
//! - `store_lists`: the contract of both stores for lists and filters.
//! - `store_hours`: totals over all accounts, before, during and after roll-ups.
//! - `store_totals`: the contract of both stores for totals.
//! - `store_upgrade`: a database of version 0.1.0 with data in it is upgraded.
//! - `store_opening`: opening, migrating and refusing databases; file permissions.
//! - `url_check`: WeChat's check of the URL, in every mode.
//! - `hostile`: malformed pushes are answered, kept raw, and do not become jobs.
//! - `unreadable`: well-formed pushes that cannot be recorded as jobs are kept raw, too.
//! - `readable`: results with small errors become jobs with nulls and a note.
//! - `fuzzing`: the parsers hold their invariants for arbitrary input.
//! - `hosts`: which `Host` headers are accepted.
//! - `proxies`: the client address behind a trusted proxy.
//! - `logs`: one JSON object per line, with its request.
//! - `sealed`: signed pushes that do not open are kept sealed, reported, and opened once the
//!   configuration is right.
//! - `store_sealed`: the contract of both stores for sealed deliveries.
//! - `secrets`: nothing secret or private is logged, sent or stored.
//! - `command_line`: help, usage and exit codes of every command; keys, the health check,
//!   migrations.
//! - `configuration`: sources of the configuration, their precedence, and what is shown of it.
//! - `metrics`: the metrics for Prometheus.
//! - `mistakes`: messages about a wrong configuration.
//! - `demo`: `serve` without any configuration.
//! - `spool`: deliveries that wait for PostgreSQL, and ones that it refuses.
//! - `seed`: `simulate seed` fills an empty database.
//! - `starting`: when `serve` cannot start.
//! - `stopping`: SIGTERM and SIGINT.
//! - `systemd`: socket activation across restarts, readiness, stopping, the watchdog.
//! - `simulate`: `simulate push`, against qunfa and other servers.
//! - `listeners`: the API on a separate listener.
//! - `locks`: a lock of another session, or a slow connection to PostgreSQL, delays only the jobs
//!   concerned.
//! - `names`: two WeChat accounts that push to one account name.
//! - `load`: `simulate load` and the server count the same.
//! - `transport`: request heads and bodies of every size and shape over plain TCP.
//! - `connections`: slow, silent and many clients.
//! - `flood`: floods of bodies and of forged requests.
//! - `layers`: which module may depend on which, and where SQL is allowed.
//! - `vectors`: known answers for signatures and AES.

#![expect(
    clippy::unwrap_used,
    reason = "a test should fail on anything unexpected"
)]

mod access;
mod api;
mod api_answers;
mod api_docs;
mod api_errors;
mod api_limits;
mod api_stats;
mod backup;
mod batch_ids;
mod callback;
mod clocks;
mod command_line;
mod configuration;
mod connections;
mod copy;
mod dashboards;
mod database_tls;
mod demo;
mod docs_page;
mod doctor;
mod durability;
mod export;
mod failover;
mod faults;
mod flood;
mod fuzzing;
mod hostile;
mod hosts;
mod in_doubt;
mod kept;
mod layers;
mod listeners;
mod load;
mod locks;
mod logs;
mod metrics;
mod mistakes;
mod names;
mod openapi;
mod outage;
mod outcome;
mod page;
mod page_files;
mod page_live;
mod page_pictures;
mod proxies;
mod prune;
mod readable;
mod refusals;
mod replay;
mod replicas;
mod reprocess;
mod sealed;
mod secrets;
mod seed;
mod simulate;
mod spool;
mod spool_edges;
mod starting;
mod stopping;
mod store_agreement;
mod store_batches;
mod store_changes;
mod store_contract;
mod store_hours;
mod store_lists;
mod store_opening;
mod store_sealed;
mod store_totals;
mod store_upgrade;
mod stream;
mod support;
mod systemd;
mod transport;
mod unreadable;
mod url_check;
mod vectors;
