//! HTTP/1.1 connections, which carry one request at a time.

mod connection;
mod idle;
mod output;
mod tunnel;

pub(in crate::proxy::pool) use self::connection::{Connection, Failure, Idle, open};
pub(in crate::proxy::pool) use self::idle::{CHECK_INTERVAL, IdleConnections};
pub(in crate::proxy) use self::tunnel::Tunnel;
