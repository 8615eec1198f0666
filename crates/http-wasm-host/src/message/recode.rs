//! Bodies that are decoded, or encoded again, on their way out.

use std::fmt;
use std::task::{Context, Poll, ready};

use super::body_budget::Reservation;
use super::{Fields, Frame};
use crate::coding::{Decoder, Encoder, Pulled};
use crate::error::BoxError;

/// Decodes or encodes an outgoing body, frame by frame.
pub struct Recode {
    kind: Kind,
    /// They follow the last bytes.
    trailers: Option<Fields>,
    /// For what the decoder or encoder needs.
    _memory: Reservation,
}

enum Kind {
    Decoder(Box<Decoder>),
    Encoder {
        encoder: Box<Encoder>,
        /// Something was encoded since the last flush.
        unflushed: bool,
        /// Each piece is sent at once.
        prompt: bool,
    },
    Ended,
}

impl Recode {
    pub(crate) fn decoder(decoder: Box<Decoder>, memory: Reservation) -> Self {
        Self { kind: Kind::Decoder(decoder), trailers: None, _memory: memory }
    }

    pub(crate) fn encoder(encoder: Encoder, memory: Reservation) -> Self {
        let kind = Kind::Encoder { encoder: Box::new(encoder), unflushed: false, prompt: false };
        Self { kind, trailers: None, _memory: memory }
    }

    /// Encodes so that each piece can be decoded as soon as it has been sent.
    pub(crate) fn flush_each_piece(&mut self) {
        if let Kind::Encoder { prompt, .. } = &mut self.kind {
            *prompt = true;
        }
    }

    /// Returns the next frame of the decoded or encoded body. `next` polls the body itself for its next frame. This
    /// must not be called again after the end.
    ///
    /// # Errors
    /// Those of `next`, and if the body can't be decoded.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame, BoxError>>>,
    ) -> Poll<Option<Result<Frame, BoxError>>> {
        loop {
            match &mut self.kind {
                Kind::Ended => {
                    let trailers = self.trailers.take();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::Trailers(trailers))));
                }
                Kind::Decoder(decoder) => match decoder.pull()? {
                    Pulled::Data(data) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                    Pulled::Ended => self.kind = Kind::Ended,
                    Pulled::NeedsInput => match ready!(next(cx)).transpose()? {
                        Some(Frame::Data(data)) => decoder.push(data),
                        last => {
                            self.trailers = last.and_then(Frame::into_trailers);
                            decoder.end();
                        }
                    },
                },
                Kind::Encoder { encoder, unflushed, prompt } => {
                    let frame = match next(cx) {
                        Poll::Ready(frame) => frame.transpose()?,
                        Poll::Pending if !*unflushed => return Poll::Pending,
                        // The receiver gets what there is while more is awaited.
                        Poll::Pending => {
                            *unflushed = false;
                            match encoder.flush()? {
                                none if none.is_empty() => return Poll::Pending,
                                encoded => return Poll::Ready(Some(Ok(Frame::Data(encoded)))),
                            }
                        }
                    };
                    let encoded = match frame {
                        Some(Frame::Data(data)) if *prompt => encoder.encode_and_flush(&data)?,
                        Some(Frame::Data(data)) => {
                            *unflushed = true;
                            encoder.encode(&data)?
                        }
                        last => {
                            self.trailers = last.and_then(Frame::into_trailers);
                            let encoded = encoder.finish()?;
                            self.kind = Kind::Ended;
                            encoded
                        }
                    };
                    if !encoded.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::Data(encoded))));
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Recode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recode").finish_non_exhaustive()
    }
}
