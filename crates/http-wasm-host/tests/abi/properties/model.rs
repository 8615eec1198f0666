//! A minimal model of how the ABI defines the effects of a script on a message.

use http_wasm_host::{BodyKind, ErrorKind, Fields};

use super::guest::{CAP, Step};
use crate::support::{BUFFER_REQUEST, BUFFER_RESPONSE};

/// One message and the changes to it.
pub(super) struct Message {
    kind: BodyKind,
    /// What the guest reads: the body as received, preceded by what the guest wrote before the next handler was called.
    readable: Vec<u8>,
    early: usize,
    trailers: Option<Fields>,
    read: usize,
    replayed: usize,
    consumed: usize,
    written: Option<Vec<u8>>,
    /// Whether a read or a wait went past the last byte.
    saw_end: bool,
}

/// The trailers that are sent with a body.
#[derive(Debug)]
pub(super) enum Trailing {
    Exactly(Fields),
    /// Some of these: whether they were known when the last byte was read depends on how the body arrived.
    AtMost(Fields),
}

impl Message {
    pub(super) fn new(kind: BodyKind, early: &[u8], body: &[u8], trailers: Option<Fields>) -> Self {
        Self {
            kind,
            readable: [early, body].concat(),
            early: early.len(),
            trailers,
            read: 0,
            replayed: 0,
            consumed: 0,
            written: None,
            saw_end: false,
        }
    }

    /// Runs a script on the message. What it writes to the response before next goes to `early`.
    pub(super) fn run(
        &mut self,
        script: &[Step],
        features: &mut u32,
        early: &mut Vec<u8>,
    ) -> Result<(), ErrorKind> {
        let request = self.kind == BodyKind::Request;
        for step in script {
            let feature = if request { BUFFER_REQUEST } else { BUFFER_RESPONSE };
            let buffered = *features & feature != 0;
            if !request && !buffered && !matches!(step, Step::Trailers | Step::Enable | Step::Trap) {
                return Err(ErrorKind::HostCall);
            }
            match *step {
                Step::Read(root) => self.read(usize::from(root).pow(2), buffered)?,
                Step::Write => self.write(b"new"),
                Step::WriteResponse if request => early.extend_from_slice(b"early"),
                Step::WriteResponse => self.write(b"early"),
                Step::Empty => self.written = Some(Vec::new()),
                Step::Trailers => self.saw_end |= buffered,
                Step::Enable if request => *features |= BUFFER_REQUEST | BUFFER_RESPONSE,
                Step::Enable | Step::Head => {}
                Step::Trap => return Err(ErrorKind::Trap),
                Step::Misuse => return Err(ErrorKind::HostCall),
            }
        }
        Ok(())
    }

    fn read(&mut self, limit: usize, buffered: bool) -> Result<(), ErrorKind> {
        let len = limit.min(self.readable.len() - self.read);
        self.saw_end |= len < limit;
        self.read += len;
        if buffered && self.written.is_none() {
            self.replayed += len;
            if self.replayed > CAP {
                return Err(ErrorKind::BodyTooLarge(self.kind));
            }
        } else {
            self.consumed = self.read;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) {
        self.written.get_or_insert_default().extend_from_slice(bytes);
    }

    /// What is sent if the guest hasn't failed.
    pub(super) fn outgoing(&self) -> (Vec<u8>, Trailing) {
        let trailers = self.trailers.clone().unwrap_or_default();
        match &self.written {
            None => (self.readable[self.consumed..].to_vec(), Trailing::Exactly(trailers)),
            Some(written) => {
                let trailing = match (self.saw_end, self.read == self.readable.len()) {
                    (true, _) => Trailing::Exactly(trailers),
                    (false, true) => Trailing::AtMost(trailers),
                    (false, false) => Trailing::Exactly(Fields::new()),
                };
                (written.clone(), trailing)
            }
        }
    }

    /// What is sent if the guest has failed open; `None` if the message is no longer complete.
    pub(super) fn original(&self) -> Option<(Vec<u8>, Trailing)> {
        let trailers = self.trailers.clone().unwrap_or_default();
        (self.read <= CAP).then(|| (self.readable[self.early..].to_vec(), Trailing::Exactly(trailers)))
    }
}
