//! qunfa (群发, "mass send") is the server that a WeChat Official Account registers as its developer
//! callback URL. It verifies what WeChat pushes there, stores the result of every mass-send job,
//! and serves the results as JSON.
//!
//! # Data flow
//!
//! ```text
//! WeChat ──POST──▶ web ──▶ wechat (verify, decrypt, parse) ──▶ ingest ──▶ store ──▶ "success"
//! dashboards ◀── web (JSON, CSV, server-sent events) ◀── output (their shapes) ◀── store, feed (changes)
//! ```
//!
//! WeChat reports each result once, and there is no way to ask for it later. So `success` is
//! answered only once the push is on disk, and a push that cannot be parsed or decrypted is stored
//! raw, for `qunfa reprocess` to read after a fix. While PostgreSQL is down, pushes go to a local
//! file, the spool.
//!
//! A **delivery** is a distinct body that was pushed to an account; copies of it are counted. It is
//! `stored`, `unparsed`, or `sealed` if it could not be decrypted. A **job** is one mass-send job,
//! which shows the newest of its deliveries; its `revision` is their number.
//!
//! # Modules
//!
//! | module | contents | may depend on |
//! |---|---|---|
//! | [`domain`] | plain values: accounts, jobs, deliveries, reasons; no I/O | – |
//! | [`wechat`] | WeChat's wire format: signatures, the AES envelope, events; no I/O | `domain` |
//! | [`store`] | all SQL: PostgreSQL and SQLite behind the same traits, and the spool | `domain`, `files` |
//! | [`ingest`] | durable acceptance: queue, batches, the spool as a fallback | `domain`, `store` |
//! | [`feed`] | jobs as they change, for any number of followers | `domain`, `store` |
//! | [`output`] | the public form of stored data: JSON shapes, CSV, NDJSON | `domain`, `store` |
//! | [`web`] | the HTTP server: callback, API, page, health, metrics | `domain`, `wechat`, `ingest`, `feed`, `store`, `output`, `server` |
//! | [`simulator`] | plays WeChat, over HTTP | `domain`, `wechat` |
//! | [`config`] | TOML and environment into a checked configuration | `domain`, `wechat` |
//! | [`server`], [`telemetry`], [`files`] | the accept loop; logs and metrics of the process; private files | – |
//! | [`app`], [`cli`] | wiring and background tasks; the commands | everything |
//!
//! A test checks the dependencies. Start with [`wechat::Account::open`],
//! [`ingest::Ingest::accept`], [`store::Store`] and [`web::router`].

pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod feed;
pub mod files;
pub mod ingest;
pub mod output;
pub mod server;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod web;
pub mod wechat;
