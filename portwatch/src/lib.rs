//! portwatch: a flight recorder and claims office for ports.
//!
//! The modules are stages, and data flows one way through them. `ARCHITECTURE.md` gives each its rank,
//! its task and its one "never"; `cargo xtask tidy` rejects an import that goes sideways or upwards.

pub mod access;
pub mod api;
pub mod attribute;
pub mod cli;
pub mod coordinate;
pub mod daemon;
pub mod deliver;
pub mod engine;
pub mod health;
pub mod journal;
pub mod meter;
pub mod model;
pub mod platform;
pub mod query;
pub mod registry;
pub mod render;
pub mod resolve;
pub mod source;
pub mod state;
pub mod verdict;
pub mod webhook;
pub mod wire;
