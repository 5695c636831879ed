//! qunfa (群发, "mass send") is the server that a WeChat Official Account registers as its developer callback URL. It
//! verifies what WeChat pushes there, keeps the result of every mass-send job, and serves the results as JSON.
//!
//! # The way of the data
//!
//! ```text
//! WeChat ─POST─▶ web::callback ─▶ wechat::Account::open (verify ▸ decrypt ▸ read) ─▶ ingest ─▶ store ─▶ "success"
//! store ─▶ output ─▶ web::api (JSON, CSV) ─▶ dashboards
//! simulator ─▶ plays WeChat, over HTTP only
//! ```
//!
//! WeChat reports each result once and can never be asked again. So `success` is answered only when the result is on
//! disk, and a body that cannot be understood is kept raw, for [`reprocess`](cli) to read after a fix.
//!
//! # The map
//!
//! | module | what it is | may name |
//! |---|---|---|
//! | [`domain`] | plain values: accounts, jobs, deliveries, reasons; no I/O | nothing of ours |
//! | [`wechat`] | WeChat's wire format: signatures, the AES envelope, events; no I/O | `domain` |
//! | [`store`] | the only place with SQL: PostgreSQL and SQLite behind one trait | `domain` |
//! | [`ingest`] | durable acceptance: what is kept, and when it may be acknowledged | `domain`, `store` |
//! | [`feed`] | jobs as they change, for whoever follows them | `domain`, `store` |
//! | [`output`] | what outsiders see of what is stored: shapes of answers, CSV, NDJSON | `domain`, `store` |
//! | [`web`] | the HTTP server: callback, API, page, health | `domain`, `wechat`, `ingest`, `feed`, `store`, `output`, `server` |
//! | [`simulator`] | WeChat's side, over HTTP | `domain`, `wechat` |
//! | [`config`] | TOML and environment into a checked configuration | `domain`, `wechat` |
//! | [`server`], [`telemetry`] | the accept loop; logs, metrics of the process | nothing of ours |
//! | [`app`], [`cli`] | the wiring; the commands | what they wire |
//!
//! A test keeps this table. Read in its order, from the values to the wire to the disk; [`wechat::Account::open`],
//! [`store::Store`] and [`web::router`] are the three doors.

pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod feed;
pub mod ingest;
pub mod output;
pub mod server;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod web;
pub mod wechat;
