//! `qunfa openapi`.

use super::{Outcome, print};

pub(super) fn run() -> Outcome {
    Ok(print(crate::web::openapi())?)
}
