//! Headers and trailers.

use super::Exchange;
use crate::abi::{BodyKind, HeaderKind, Phase};
use crate::error::Reason;
use crate::host::{HeadChange, Host};
use crate::message::{Fields, HeaderChange};
use crate::text;

/// Headers that guests can't set freely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Special {
    /// Determines where a body ends. The host sets it to match the outgoing body.
    Framing,
    /// Concerns a single connection, so only its two ends may set it (RFC 9110, section 7.6.1).
    Connection,
    /// The authority of a request.
    Host,
}

impl Special {
    #[inline]
    fn of(name: &[u8]) -> Option<Self> {
        // Few names have one of these lengths, so most aren't compared at all.
        let (same, special): (&[&str], _) = match name.len() {
            2 => (&["te"], Self::Connection),
            4 => (&["host"], Self::Host),
            7 if name[0] | 0x20 == b't' => (&["trailer"], Self::Framing),
            7 => (&["upgrade"], Self::Connection),
            10 => (&["connection", "keep-alive"], Self::Connection),
            14 if name[0] | 0x20 == b'c' => (&["content-length"], Self::Framing),
            14 => (&["http2-settings"], Self::Connection),
            16 => (&["proxy-connection"], Self::Connection),
            17 => (&["transfer-encoding"], Self::Framing),
            _ => return None,
        };
        let is_same =
            |same: &&str| same.as_bytes()[0] == name[0] | 0x20 && name.eq_ignore_ascii_case(same.as_bytes());
        same.iter().any(is_same).then_some(special)
    }
}

/// Whether fields of this name that a guest sets, adds or removes are ignored in the outgoing message.
#[inline]
pub(crate) fn has_no_effect(name: &[u8]) -> bool {
    matches!(Special::of(name), Some(Special::Framing | Special::Connection))
}

impl<H: Host> Exchange<H> {
    /// Visits each name once, in lower case and in the order received.
    #[inline]
    pub(crate) fn header_names<'a>(&'a self, kind: HeaderKind, visit: impl FnMut(&'a [u8])) {
        match self.own_fields(kind) {
            Some(fields) => fields.names().for_each(visit),
            None if self.coding.is_some() => self.visible_header_names(kind.message(), visit),
            None => self.host.header_names(kind.message(), visit),
        }
    }

    /// Visits the values under `name`.
    #[inline]
    pub(crate) fn header_values<'a>(&'a self, kind: HeaderKind, name: &[u8], visit: impl FnMut(&'a [u8])) {
        match self.own_fields(kind) {
            Some(fields) => fields.values(name).for_each(visit),
            None if self.coding.is_some() => self.visible_header_values(kind.message(), name, visit),
            None => self.host.header_values(kind.message(), name, visit),
        }
    }

    /// The fields that the exchange keeps itself, if `kind` is one of these. The host keeps all others.
    fn own_fields(&self, kind: HeaderKind) -> Option<&Fields> {
        match (kind, self.phase) {
            (HeaderKind::RequestTrailers, _) => Some(self.request.trailers()),
            (HeaderKind::ResponseTrailers, _) => Some(self.response.trailers()),
            (HeaderKind::Response, Phase::Request) => Some(&self.early.headers),
            (HeaderKind::Request, _) | (HeaderKind::Response, Phase::Response) => None,
        }
    }

    pub(crate) fn change_header(
        &mut self,
        kind: HeaderKind,
        name: &[u8],
        change: HeaderChange<'_>,
    ) -> Result<(), Reason> {
        self.check_mutable(kind.message())?;
        if self.streaming.is_some() && !kind.is_trailers() {
            self.check_uncommitted(kind.message())?;
        }
        let (HeaderChange::Set(value) | HeaderChange::Add(value)) = change else {
            return self.remove_header(kind, name);
        };
        check_name(name)?;
        if !text::is_field_value(value) {
            return Err(Reason::invalid("value", "header value", value));
        }
        let special = Special::of(name);
        match special {
            Some(Special::Framing) => return self.frame(kind, name, value),
            Some(Special::Connection) => return Ok(()),
            Some(Special::Host) | None => {}
        }
        self.budget.spend_field(name, value)?;
        if kind == HeaderKind::Request && special == Some(Special::Host) {
            if !text::is_authority(value) {
                return Err(Reason::invalid("value", "host", value));
            }
            return self.host.change_head(HeadChange::Authority(value)).map_err(Reason::refused);
        }
        self.apply(kind, name, change)
    }

    fn remove_header(&mut self, kind: HeaderKind, name: &[u8]) -> Result<(), Reason> {
        let special = Special::of(name);
        if !can_be_name(name) || special == Some(Special::Framing) {
            return Ok(());
        }
        if kind == HeaderKind::Request && special == Some(Special::Host) {
            return Err(Reason::invalid(
                "name",
                "header name to remove, since a request always has a host",
                name,
            ));
        }
        if kind.is_trailers() {
            // The change is recorded until the trailers arrive, so it counts like a field that is set.
            self.budget.spend_field(name, b"")?;
        }
        self.apply(kind, name, HeaderChange::Remove)
    }

    /// Applies a permitted change where the fields of this kind are kept.
    fn apply(&mut self, kind: HeaderKind, name: &[u8], change: HeaderChange<'_>) -> Result<(), Reason> {
        let message = kind.message();
        if self.coding.is_some() && self.keeps_own_coding(kind, name, change) {
            return Ok(());
        }
        match (kind.is_trailers(), self.phase, message) {
            (true, ..) => self.state_mut(message).trailers_mut().change(name, change),
            (false, Phase::Request, BodyKind::Response) => self.early.headers.change(name, change),
            (false, ..) => self.host.change_header(message, name, change).map_err(Reason::refused)?,
        }
        Ok(())
    }

    /// Accepts and ignores a guest's framing header, except that `content-length: 0` empties the body: TinyGo's library
    /// drops empty writes, so a guest that blocks a response has no other way.
    fn frame(&mut self, kind: HeaderKind, name: &[u8], value: &[u8]) -> Result<(), Reason> {
        let message = kind.message();
        let empties = !kind.is_trailers()
            && self.check_content_mutable(message).is_ok()
            && name.eq_ignore_ascii_case(b"content-length")
            && value == b"0";
        if empties { self.empty_body(message) } else { Ok(()) }
    }
}

/// The longest name that servers support. A longer one need not be copied to look it up.
const MAX_NAME_LEN: usize = 65_535;

/// Whether a field of this name can exist. Looking up or removing any other name finds nothing.
#[inline]
pub(crate) fn can_be_name(name: &[u8]) -> bool {
    name.len() <= MAX_NAME_LEN && text::is_token(name)
}

/// Checks the name of a field that the guest sets or adds.
fn check_name(name: &[u8]) -> Result<(), Reason> {
    match name {
        [] => Err(Reason::Empty { argument: "name" }),
        _ if text::is_token(name) => Ok(()),
        _ => Err(Reason::invalid("name", "header name", name)),
    }
}
