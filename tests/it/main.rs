//! Everything across a boundary, in one binary. Run it with `scripts/test`, which starts the PostgreSQL that it needs.
//!
//! - `vectors`: known answers for signatures and AES.
//! - `outcome`: every form of the event, pushed to the real program, gives the right job.

mod outcome;
mod support;
mod vectors;
