//! Random numbers.

/// A random number of this many bytes.
pub(crate) fn random<const BYTES: usize, T>(number: impl Fn([u8; BYTES]) -> T) -> T {
    let mut bytes = [0; BYTES];
    // A system without randomness couldn't have started, because the engine and TLS need it too. Zeros are valid IDs
    // anyway.
    let _ = getrandom::fill(&mut bytes);
    number(bytes)
}
