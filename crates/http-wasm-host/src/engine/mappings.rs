//! How many memory mappings the system allows a process, and how many instances need.
//!
//! Each instance has mappings of its own, whatever its size. At the limit, the whole process can no longer allocate
//! memory, which would abort it. So instances are refused before that.

/// The number of mappings of a memory: what is accessible, and what surrounds it.
pub(super) const PER_MEMORY: usize = 3;

/// The number of mappings of the stack that an instance may use.
pub(super) const PER_STACK: usize = 2;

/// The number of mappings of a slot that isn't in use: it has a stack.
const PER_SLOT: usize = PER_STACK;

/// What is left for the rest of the process: its threads, its allocator, files and compiled code.
const RESERVED: usize = 4096;

/// The number of mappings that all instances may have by default, if `slots` are reserved. `None` if the system has no
/// limit.
pub(super) fn for_instances(slots: u32) -> Option<usize> {
    // Other systems than Linux have no limit that matters.
    let allowed = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()?;
    Some(rest(allowed, slots))
}

/// What is left of `allowed` mappings.
fn rest(allowed: usize, slots: u32) -> usize {
    let slots = (slots as usize).saturating_mul(PER_SLOT);
    // If little is allowed, a quarter of it has to do.
    allowed.saturating_sub(slots).saturating_sub(RESERVED.min(allowed / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limit_is_enough_for_ten_thousand_instances_besides_the_slots() {
        assert!(rest(65_530, 1_000) / (PER_MEMORY + PER_STACK) > 10_000);
    }

    #[test]
    fn slots_may_use_up_everything() {
        assert_eq!((rest(1_000, 0), rest(1_000, 1_000)), (750, 0));
    }
}
