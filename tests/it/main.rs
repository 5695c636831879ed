//! Everything across a boundary, in one binary. Run it with `scripts/test`, which starts the PostgreSQL that it needs.
//!
//! - `access`: who may ask for what: every route, with every kind of key.
//! - `api_answers`: how answers of the API go out: conditional, compressed, to pages of other origins.
//! - `api_docs`: what the documents tell people to do with the API and the database works.
//! - `api_errors`: what the API refuses, and how it says so.
//! - `api_limits`: what one client of the API can take from others, and from pushes.
//! - `api_stats`: what jobs add up to, by the clocks of a zone.
//! - `api`: every route of the API, its shapes, filters and pages.
//! - `backup`: a whole copy of the SQLite file, made while the server writes.
//! - `batch_ids`: a spool that is cloned, put back or upgraded, and ids that come twice.
//! - `callback`: what makes a push authentic, by the account's mode.
//! - `dashboards`: what Grafana and Prometheus are given asks for what there is.
//! - `database_tls`: TLS to PostgreSQL, and which `sslmode` checks what.
//! - `copy`: everything moves from one database into another, and nothing gets lost on the way.
//! - `docs_page`: the documentation page in a real browser.
//! - `doctor`: what is well is `ok`, what is not is told, and nothing is left behind.
//! - `stream`: jobs as they change, over server-sent events.
//! - `durability`: acknowledged means kept, through kills, crossings, locks and a full disk.
//! - `export`: the list of jobs as one file, from the server and from the command line.
//! - `failover`: the stream and the totals when PostgreSQL crashes, is put back, or a standby takes over.
//! - `faults`: faults of every kind under load, and what was acknowledged in spite of them.
//! - `in_doubt`: a connection to PostgreSQL that breaks in the middle of a commit.
//! - `clocks`: a clock that jumps.
//! - `kept`: which authentic pushes are kept.
//! - `openapi`: the document of the API says what the API does.
//! - `outage`: the database is away, and comes back.
//! - `outcome`: every form of the event, pushed to the real program, gives the right job.
//! - `page`: the page in a real browser.
//! - `page_files`: how the page is served, by proxies too, and what its files must never contain.
//! - `page_live`: the page as results come in, and while the database is away.
//! - `page_pictures`: pictures of every view, to be looked at.
//! - `prune`: old raw deliveries go, on command or by configuration; jobs stay as they are.
//! - `refusals`: every refusal is the same constant 403 and leaves nothing behind.
//! - `replay`: a query that was seen admits no other body.
//! - `replicas`: four servers on one PostgreSQL count every job once and give the same answers.
//! - `reprocess`: stored deliveries are read again.
//! - `spool_edges`: PostgreSQL that is not there at the start, refuses a delivery, or is away while the disk is full.
//! - `store_agreement`: the same random calls get the same answers from both stores.
//! - `store_batches`: batches come out as their deliveries would one by one, and count once.
//! - `store_changes`: the order of changes.
//! - `store_contract`: what a store promises about recording and reading again, held by both.
//! - `store_lists`: what a store promises about lists and filters, held by both.
//! - `store_hours`: totals over all accounts, however much of them was added up before.
//! - `store_totals`: what a store promises about totals, held by both.
//! - `store_opening`: databases that are opened, migrated or refused, and the rights of files.
//! - `url_check`: the check of the URL echoes what it should, in every mode.
//! - `hostile`: what is not well-formed is answered, kept raw, and makes no job.
//! - `unreadable`: the same for what is well-formed but cannot be filed.
//! - `readable`: what is less than perfect is a job with nulls and a note.
//! - `fuzzing`: what is read from outside is fed anything, and keeps its promises.
//! - `hosts`: which `Host` a request must have.
//! - `proxies`: whose request it is behind a trusted proxy.
//! - `logs`: one JSON object a line, with the request that it belongs to.
//! - `sealed`: what is signed and does not open is kept sealed, told, and opened once the configuration is right.
//! - `store_sealed`: what a store promises about sealed deliveries, held by both.
//! - `secrets`: nothing secret or private is logged, answered or stored.
//! - `command_line`: help, usage and exit codes of every command; keys, the health check, migrations.
//! - `configuration`: where the configuration comes from, what wins, and what is shown of it.
//! - `metrics`: what Prometheus is told.
//! - `mistakes`: what is said about a bad configuration.
//! - `demo`: `serve` without any configuration.
//! - `spool`: what waits for PostgreSQL, and what it refuses.
//! - `seed`: `simulate seed` fills an empty database.
//! - `starting`: when `serve` cannot start.
//! - `stopping`: SIGTERM and SIGINT.
//! - `systemd`: a socket that is handed over and outlives restarts; readiness, the stop, signs of life.
//! - `simulate`: `simulate push` plays WeChat, against us and against others.
//! - `listeners`: the API on a listener of its own.
//! - `locks`: a lock of another session, or a slow connection to PostgreSQL, delays only what it concerns.
//! - `names`: one account name that two WeChat accounts push to.
//! - `load`: `simulate load` counts what the server counts.
//! - `transport`: bodies and heads of every size and shape over bare TCP.
//! - `connections`: slow, silent and many clients.
//! - `flood`: floods of bodies and of forged requests.
//! - `layers`: which module may name which, and where SQL may stand.
//! - `vectors`: known answers for signatures and AES.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect fails"
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
mod stream;
mod support;
mod systemd;
mod transport;
mod unreadable;
mod url_check;
mod vectors;
