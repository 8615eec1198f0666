//! The method, URI and status of messages.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::Exchange;
use crate::abi::{BodyKind, Phase};
use crate::error::Reason;
use crate::host::{HeadChange, Host};
use crate::text;

impl<H: Host> Exchange<H> {
    pub(crate) fn method(&self) -> &[u8] {
        self.host.method()
    }

    pub(crate) fn set_method(&mut self, method: &[u8]) -> Result<(), Reason> {
        self.check_mutable(BodyKind::Request)?;
        self.check_uncommitted(BodyKind::Request)?;
        if method.is_empty() {
            return Err(Reason::Empty { argument: "method" });
        }
        if !text::is_token(method) {
            return Err(Reason::invalid("method", "method", method));
        }
        self.budget.check_uri(method.len())?;
        self.host.change_head(HeadChange::Method(method)).map_err(Reason::refused)
    }

    pub(crate) fn uri(&self) -> &[u8] {
        self.host.uri()
    }

    pub(crate) fn set_uri(&mut self, uri: &[u8]) -> Result<(), Reason> {
        self.check_mutable(BodyKind::Request)?;
        self.check_uncommitted(BodyKind::Request)?;
        self.budget.check_uri(uri.len())?;
        // A received URI may be less strict than one that guests may set. It stays unchanged.
        if uri == self.host.uri() {
            return Ok(());
        }
        let asterisk = self.host.method() == b"OPTIONS";
        let target = text::origin_form(uri, asterisk).map_err(|_| {
            Reason::invalid("uri", "URI (a path that starts with \"/\", or an absolute URI)", uri)
        })?;
        self.budget.check_uri(target.len())?;
        self.host.change_head(HeadChange::Uri(&target)).map_err(Reason::refused)
    }

    pub(crate) fn protocol_version(&self) -> &'static str {
        self.host.protocol_version()
    }

    /// Writes "ip:port" to `buf`, and returns what was written.
    pub(crate) fn source_addr<'b>(&self, buf: &'b mut [u8; 64]) -> &'b [u8] {
        let mut rest = &mut buf[..];
        if let Some(addr) = self.host.source_addr() {
            // A dual-stack socket reports IPv4 addresses as IPv6 addresses.
            let addr = match addr.ip().to_canonical() {
                ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
                IpAddr::V6(_) => addr,
            };
            // No address is longer than 58 bytes, so the write can't fail.
            let _ = write!(rest, "{addr}");
        }
        let left = rest.len();
        &buf[..64 - left]
    }

    pub(crate) fn status(&self) -> u16 {
        match self.phase {
            Phase::Request => self.early.status.unwrap_or(200),
            Phase::Response => self.host.status(),
        }
    }

    pub(crate) fn set_status(&mut self, status: u32) -> Result<(), Reason> {
        self.check_content_mutable(BodyKind::Response)?;
        self.check_uncommitted(BodyKind::Response)?;
        let status = u16::try_from(status)
            .ok()
            .filter(|status| (100..=999).contains(status))
            .ok_or(Reason::Status(status))?;
        match (status, self.phase) {
            (101, _) => Err(Reason::WrongPhase("a guest can't switch protocols (status 101)")),
            (100..=199, Phase::Request) => {
                self.budget.spend_informational()?;
                self.host.inform(status, Some(&self.early.headers));
                Ok(())
            }
            (100..=199, Phase::Response) => {
                self.budget.spend_informational()?;
                self.host.inform(status, None);
                Ok(())
            }
            (_, Phase::Request) => {
                self.early.status = Some(status);
                Ok(())
            }
            (_, Phase::Response) => {
                set_final_status(&mut *self.host, status);
                Ok(())
            }
        }
    }
}

/// Sets the status of the host's response.
#[inline]
pub(super) fn set_final_status<H: Host>(host: &mut H, status: u16) {
    // Every response has a status.
    let _accepted = host.change_head(HeadChange::Status(status));
}
