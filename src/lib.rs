//! draft

pub mod domain;
pub mod ingest;
pub mod server;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod web;
pub mod wechat;
