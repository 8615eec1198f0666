//! Limits how many control frames a client may send. They cost the server work but carry no content.

use std::time::Duration;

use tokio::time::Instant;

use super::unread::Unread;

/// The most control frames that a client may send within [`WINDOW`], not counting those explained by DATA.
const LIMIT: u32 = 1_000;

/// The period over which control frames are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// The most control frames that earlier DATA can account for.
const MAX_CREDIT: u32 = 10 * LIMIT;

/// Clients send a WINDOW_UPDATE for every 4 KiB that they have read, for the stream and for the connection.
const BYTES_PER_CONTROL_FRAME: usize = 2 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const HEAD_BYTES: usize = 9;

/// Tracks the frames that a client sends.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    /// The number of bytes received of `head`.
    filled: usize,
    /// The number of bytes until the next frame.
    payload: usize,
    /// Set if the frame is DATA of this stream.
    content_of: Option<u32>,
    /// Whether the rest of a header block follows.
    in_block: bool,
    /// Whether no frame has arrived yet.
    first: bool,
    /// The last stream that was opened.
    last_stream: u32,
    /// The number of streams opened since the last [`take_opened`](Self::take_opened).
    opened: usize,
    budget: FrameCredit,
}

/// Why a client's connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It sent too many control frames.
    Flood,
    /// It didn't start with SETTINGS (RFC 9113 section 3.4).
    NoSettings,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            head: [0; HEAD_BYTES],
            filled: 0,
            payload: 0,
            content_of: None,
            in_block: false,
            first: true,
            last_stream: 0,
            opened: 0,
            budget: FrameCredit::new(),
        }
    }

    /// Whether what has arrived ends at a frame boundary.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.filled == 0 && self.payload == 0 && !self.in_block
    }

    /// The number of streams opened since the last call.
    pub(super) fn take_opened(&mut self) -> usize {
        std::mem::take(&mut self.opened)
    }

    /// Checks that the client follows the rules with these bytes. `credit` is what was sent to it since the last call.
    /// Content is reported to `unread`.
    pub(super) fn check(&mut self, mut input: &[u8], credit: u32, unread: &Unread) -> Result<(), Fault> {
        self.budget.add_credit(credit);
        loop {
            let skipped = self.payload.min(input.len());
            self.payload -= skipped;
            if let Some(stream) = self.content_of
                && skipped > 0
            {
                unread.receive(stream, skipped as u64);
            }
            input = &input[skipped..];
            let wanted = (HEAD_BYTES - self.filled).min(input.len());
            self.head[self.filled..][..wanted].copy_from_slice(&input[..wanted]);
            self.filled += wanted;
            input = &input[wanted..];
            if self.filled < HEAD_BYTES {
                return Ok(());
            }
            self.filled = 0;
            let [a, b, c, kind, flags, stream @ ..] = self.head;
            self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
            self.content_of = (kind == DATA).then_some(stream);
            if std::mem::take(&mut self.first) && (kind != SETTINGS || flags & ACK > 0) {
                return Err(Fault::NoSettings);
            }
            if matches!(kind, HEADERS | CONTINUATION) {
                self.in_block = flags & END_HEADERS == 0;
            }
            if kind == HEADERS && stream > self.last_stream {
                self.last_stream = stream;
                self.opened += 1;
            }
            match kind {
                // The number of concurrent requests is limited elsewhere.
                HEADERS if flags & END_STREAM > 0 => {}
                HEADERS => unread.open(stream),
                DATA if self.payload > 0 || flags & END_STREAM > 0 => self.budget.add_credit(1),
                _ if !self.budget.spend() => return Err(Fault::Flood),
                _ => {}
            }
        }
    }
}

/// How many control frames this many bytes of DATA, sent in one or more frames, account for.
pub(super) fn credit_for(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_PER_CONTROL_FRAME).unwrap_or(u32::MAX).saturating_add(2)
}

#[derive(Debug)]
struct FrameCredit {
    credit: u32,
    /// Without credit, starting at `since`.
    spent: u32,
    since: Option<Instant>,
}

impl FrameCredit {
    fn new() -> Self {
        Self { credit: 0, spent: 0, since: None }
    }

    fn add_credit(&mut self, frames: u32) {
        self.credit = self.credit.saturating_add(frames).min(MAX_CREDIT);
    }

    fn spend(&mut self) -> bool {
        if self.credit > 0 {
            self.credit -= 1;
            return true;
        }
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since >= WINDOW) {
            (self.since, self.spent) = (Some(now), 0);
        }
        self.spent += 1;
        self.spent <= LIMIT
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::unread::Unread;
    use super::{ACK, Fault, Frames, LIMIT, SETTINGS, WINDOW, credit_for};

    use crate::unread_budget::UnreadBudget;

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    const CONTINUATION: u8 = 9;

    fn unread() -> Arc<Unread> {
        Unread::new(Arc::new(UnreadBudget::new(u64::MAX)))
    }

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, u8::try_from(payload >> 8).unwrap(), (payload & 0xff) as u8, kind, flags];
        frame.extend([0, 0, 0, 1]);
        frame.resize(9 + payload, 0xaa);
        frame
    }

    /// After the first frame.
    fn begun() -> Frames {
        let mut frames = Frames::new();
        frames.check(&frame(SETTINGS, 0, 0), 1, &unread()).unwrap();
        frames
    }

    #[test]
    fn the_first_frame_must_be_settings_however_the_bytes_are_split() {
        for (first, allowed) in [
            (frame(SETTINGS, 0, 12), true),
            (frame(SETTINGS, ACK, 0), false),
            (frame(PING, 0, 8), false),
            (frame(1, 5, 20), false),
        ] {
            for piece in [1, 9, 1000] {
                let mut frames = Frames::new();
                let found = first.chunks(piece).try_for_each(|piece| frames.check(piece, 0, &unread()));
                assert_eq!(found, if allowed { Ok(()) } else { Err(Fault::NoSettings) }, "{first:?}");
            }
        }
    }

    /// How many of these frames are allowed, up to `max`.
    fn allowed(frames: &mut Frames, frame: &[u8], max: usize) -> usize {
        (0..max).take_while(|_| frames.check(frame, 0, &unread()).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn control_frames_are_limited_per_time_window() {
        let limit = LIMIT as usize;
        for frame in [frame(PING, 0, 8), frame(0, 0, 0), frame(CONTINUATION, 0, 3), frame(0x77, 0, 0)] {
            let mut frames = begun();
            assert_eq!(allowed(&mut frames, &frame, limit), limit);
            tokio::time::sleep(WINDOW).await;
            assert_eq!(allowed(&mut frames, &frame, 2 * limit), limit);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_their_content_are_not_counted_and_allow_more_control_frames() {
        let (mut frames, limit) = (begun(), LIMIT as usize);
        assert_eq!(allowed(&mut frames, &frame(1, 5, 20), 3 * limit), 3 * limit);
        assert_eq!(allowed(&mut frames, &frame(0, 1, 0), 500), 500);
        assert_eq!(allowed(&mut frames, &frame(0, 0, 1000), 500), 500);
        assert_eq!(allowed(&mut frames, &frame(PING, 0, 8), 5 * limit), limit + 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn window_updates_for_sent_bytes_are_not_counted() {
        let (mut frames, update) = (begun(), frame(WINDOW_UPDATE, 0, 4));
        for _ in 0..10_000 {
            assert_eq!(frames.check(&update.repeat(8), credit_for(16 * 1024), &unread()), Ok(()));
        }
        // Only recent DATA accounts for control frames.
        let left = allowed(&mut frames, &update, 1_000_000);
        assert!((1_000..=11_000).contains(&left), "{left}");
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_parsed_however_the_bytes_are_split() {
        let all =
            [frame(1, 4, 300), frame(PING, 0, 8), frame(0, 0, 70), frame(PING, 0, 8)].concat().repeat(10);
        for piece in [1, 2, 8, 9, 10, 33, 1000] {
            let budget = Arc::new(UnreadBudget::new(u64::MAX));
            let (mut frames, unread) = (begun(), Unread::new(budget.clone()));
            assert!(all.chunks(piece).all(|piece| frames.check(piece, 0, &unread).is_ok()));
            // Each DATA frame accounted for the PING after it.
            assert_eq!((frames.budget.spent, frames.budget.credit), (10, 0), "{piece}");
            let content = unread.accept(1);
            assert_eq!(budget.used(), 10 * 70, "{piece}");
            drop(content);
        }
    }
}
