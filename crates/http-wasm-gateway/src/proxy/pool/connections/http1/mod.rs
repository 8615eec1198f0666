//! HTTP/1.1 connections, which carry one request at a time.

mod connection;
mod idle;
mod output;

pub(in crate::proxy::pool) use self::connection::{Connection, Failure, Idle, open};
pub(in crate::proxy::pool) use self::idle::{CHECK_INTERVAL, IdleConnections};

/// A connection to an upstream after a switch to another protocol.
pub(in crate::proxy) type Tunnel = crate::http1::Switched<crate::proxy::connect::Io>;
