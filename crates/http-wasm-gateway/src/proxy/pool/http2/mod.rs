//! Requests on HTTP/2 connections.

mod acquire;
mod driver;
mod exchange;
mod handshake;
mod slot;
mod upload;

pub(super) use self::acquire::Acquired;
pub(in crate::proxy) use self::exchange::ResponseBody;
pub(super) use self::exchange::send;
