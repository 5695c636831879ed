//! `qunfa simulate`.

mod load;
mod push;
mod seed;
mod target;

pub(super) use load::{LoadArgs, load};
pub(super) use push::{PushArgs, push};
pub(super) use seed::{SeedArgs, seed};
