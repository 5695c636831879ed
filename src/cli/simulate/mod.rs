//! `qunfa simulate`: WeChat's side.

mod push;
mod target;

pub(super) use push::{PushArgs, push};
