//! `qunfa simulate`: WeChat's side.

mod load;
mod push;
mod target;

pub(super) use load::{LoadArgs, load};
pub(super) use push::{PushArgs, push};
