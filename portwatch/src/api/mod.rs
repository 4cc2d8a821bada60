//! HTTP/1.1 and JSON over a Unix socket: the server's router and connections, and the client.
//!
//! Never: decide anything. Questions and orders go to [`crate::query::Answers`], answers leave through [`crate::wire`].

#[cfg(unix)]
mod client;
mod error;
mod openapi;
mod peer;
mod places;
mod registry;
mod router;
#[cfg(unix)]
mod server;
mod watch;

#[cfg(unix)]
pub use client::{Client, ClientError};
pub use error::ApiError;
pub use openapi::openapi;
pub use peer::Peer;
pub use places::{Places, SYSTEM_SOCKET, SYSTEM_STATE, environment};
pub use router::router;
#[cfg(unix)]
pub use server::{Limits, bind, serve};

#[cfg(test)]
mod tests;
