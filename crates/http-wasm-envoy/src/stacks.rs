//! Fiber stacks that Envoy's allocator can walk.
//!
//! Envoy's allocator samples allocations and follows the frame pointers of the calling stack for each sample. On a
//! guest's fiber, the outermost frame pointer is the top of the stack, so the words above it are read as a frame.
//! wasmtime's stacks end at an inaccessible page there. The stacks here have a page of zeros above them, which ends the
//! walk.
#![expect(unsafe_code, reason = "stacks are mapped memory")]

use std::io;
use std::ops::Range;
use std::ptr::null_mut;

use wasmtime::{StackCreator, StackMemory};

/// Larger than any page size of Linux on x86-64 and AArch64.
const PAGE: usize = 64 * 1024;

/// Makes stacks with a page of zeros above them.
pub(crate) struct Stacks;

// SAFETY: each stack has an inaccessible page below it and is page-aligned, and fresh memory is filled with zeros.
unsafe impl StackCreator for Stacks {
    fn new_stack(&self, size: usize, _zeroed: bool) -> wasmtime::Result<Box<dyn StackMemory>> {
        Ok(Box::new(Stack::new(size.next_multiple_of(PAGE))?))
    }
}

/// An inaccessible page, the stack, and a page of zeros.
struct Stack {
    start: *mut u8,
    size: usize,
}

// SAFETY: this value owns the memory, on whichever thread it is.
unsafe impl Send for Stack {}
// SAFETY: as above; a shared reference only gives access to addresses.
unsafe impl Sync for Stack {}

impl Stack {
    fn new(size: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        // SAFETY: this makes a new mapping at an address that the system chooses.
        let start = unsafe { libc::mmap(null_mut(), PAGE + size + PAGE, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { start: start.cast(), size };
        let accessible = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the range lies within the new mapping, which nothing else refers to.
        match unsafe { libc::mprotect(stack.bottom().cast(), size + PAGE, accessible) } {
            0 => Ok(stack),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn bottom(&self) -> *mut u8 {
        self.start.wrapping_add(PAGE)
    }
}

// SAFETY: the ranges are those of the mapping, which lives as long as this value.
unsafe impl StackMemory for Stack {
    fn top(&self) -> *mut u8 {
        self.bottom().wrapping_add(self.size)
    }

    fn range(&self) -> Range<usize> {
        self.bottom() as usize..self.top() as usize
    }

    fn guard_range(&self) -> Range<*mut u8> {
        self.start..self.bottom()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: `new` made the mapping, and no fiber uses it any more.
        unsafe { libc::munmap(self.start.cast(), PAGE + self.size + PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::StackMemory as _;

    use super::{PAGE, Stack};

    #[test]
    fn the_words_above_the_top_of_a_stack_are_zero() {
        let stack = Stack::new(4 * PAGE).unwrap();
        let above = stack.top().cast::<usize>();
        // SAFETY: the page above the stack is part of the mapping.
        assert_eq!(unsafe { (above.read(), above.add(1).read()) }, (0, 0));
        assert_eq!(stack.range().len(), 4 * PAGE);
        assert_eq!(stack.guard_range().end as usize, stack.range().start);
    }
}
