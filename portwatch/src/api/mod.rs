//! HTTP/1.1 and JSON over a Unix socket or a named pipe: the server's router and connections, and the client.
//!
//! Never: decide anything. Questions and orders go to [`crate::query::Answers`], answers leave through [`crate::wire`].

mod client;
mod coordinate;
mod error;
mod names;
mod openapi;
mod orders;
mod peer;
mod places;
mod registry;
mod requests;
mod router;
mod server;
mod turns;
mod watch;

pub use client::{ANSWER, Client, ClientError, Silence, Told};
pub use error::{ApiError, Crowd};
pub use openapi::openapi;
pub use peer::Peer;
pub use places::{DATABASE, Places, SYSTEM_SOCKET, SYSTEM_STATE, environment};
pub use router::{MAX_TARGETS, router};
pub use server::{Limits, MAX_HEAD, serve};

#[cfg(test)]
mod tests;
