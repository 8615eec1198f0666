//! A decoder for `br`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brotli::{Allocator, BrotliDecompressStream, BrotliResult, BrotliState, HeapAlloc, SliceWrapper};

use super::step::Step;
use crate::coding::{Coding, DecodeError};

type State = BrotliState<Counted, Counted, Counted>;

/// Decodes one brotli stream with a window of up to 16 MiB. `br` doesn't include "large windows".
pub(in crate::coding) struct Brotli {
    state: State,
    used: Arc<AtomicUsize>,
    is_empty: bool,
    is_complete: bool,
}

impl Default for Brotli {
    fn default() -> Self {
        let used = Arc::default();
        let counted = || Counted(Arc::clone(&used));
        let state = State::new_strict(counted(), counted(), counted());
        Self { state, used, is_empty: true, is_complete: false }
    }
}

impl Brotli {
    pub(super) fn may_end(&self) -> bool {
        self.is_empty || self.is_complete
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<State>() + self.used.load(Ordering::Relaxed)
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError> {
        match (self.is_complete, input) {
            (true, []) => return Ok(Step::default()),
            (true, _) => return Err(DecodeError::TrailingBytes(Coding::Brotli)),
            (false, [first, ..]) if self.is_empty => {
                self.is_empty = false;
                // These seven bits announce a large window, whose size follows (RFC 7932, section 9.1).
                if first & 0x7f == 0x11 {
                    const MAX: u64 = 1 << 24;
                    return Err(DecodeError::Window { coding: Coding::Brotli, window: 2 * MAX, max: MAX });
                }
            }
            (false, _) => {}
        }
        let (mut input_left, mut read) = (input.len(), 0);
        let (mut output_left, mut written, mut total) = (output.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut input_left,
            &mut read,
            input,
            &mut output_left,
            &mut written,
            output,
            &mut total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => Err(DecodeError::Corrupt(Coding::Brotli)),
            result => {
                self.is_complete = matches!(result, BrotliResult::ResultSuccess);
                Ok(Step { read, written })
            }
        }
    }
}

/// Counts the allocated memory.
struct Counted(Arc<AtomicUsize>);

impl<T: Clone + Default> Allocator<T> for Counted {
    type AllocatedMemory = <HeapAlloc<T> as Allocator<T>>::AllocatedMemory;

    fn alloc_cell(&mut self, len: usize) -> Self::AllocatedMemory {
        self.0.fetch_add(len * size_of::<T>(), Ordering::Relaxed);
        HeapAlloc::new(T::default()).alloc_cell(len)
    }

    fn free_cell(&mut self, data: Self::AllocatedMemory) {
        self.0.fetch_sub(size_of_val(data.slice()), Ordering::Relaxed);
    }
}
