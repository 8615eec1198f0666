//! Random numbers.

/// A random number of this many bytes.
pub(crate) fn random<const BYTES: usize, T>(number: impl Fn([u8; BYTES]) -> T) -> T {
    let mut bytes = [0; BYTES];
    // A system without randomness could not have started: the engine and TLS need it too. Zeros are IDs all the same.
    let _ = getrandom::fill(&mut bytes);
    number(bytes)
}
