//! Random paths, spelled in all ways that servers are known to interpret differently.

/// Names of routes and resources.
pub(crate) const NAMES: [&str; 6] = ["admin", "public", "api", "x", "y", "z"];

/// What may be between names.
const BETWEEN: [&str; 58] = [
    "/",
    "/",
    "/",
    "//",
    "///",
    "/./",
    "/../",
    "/../../",
    "/%2e/",
    "/%2e%2e/",
    "/.%2E/",
    "//../",
    "/.//../",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "%252f",
    "%25252f",
    "%255c",
    "%2f%2f",
    "/%2f",
    "\\\\",
    "/\\",
    "/..%2f",
    "%2f../",
    "%2f..%2f",
    "%2F%2e%2e%2F",
    "/..%5c",
    "/..\\",
    "\\..\\",
    "%5c..%5c",
    "/..%252f",
    "/%2f../",
    "/%252e%252e/",
    "/%25252e%25252e/",
    "/.%252e/",
    "%2f.%2f",
    "/..;/",
    "/..;x=1/",
    "/.;/",
    "/%2e%2e;/",
    "/..%3b/",
    "/..%253b/",
    "/..;x%2fy/",
    "/;/",
    "/;x/",
    ";x=1/",
    ";x%2fy/",
    ";/../",
    "%00",
    "/..%00/",
    "..%00",
    "%00/../",
    "%2500",
    "/..%20/",
    "/%09../",
    ".",
];

/// Generates paths.
pub(crate) struct Spellings(pub(crate) fastrand::Rng);

impl Spellings {
    pub(crate) fn path(&mut self) -> String {
        let mut path = String::from("/");
        if self.0.u8(..8) == 0 {
            path = self.one_of(&BETWEEN).to_owned();
            if !path.starts_with('/') {
                path.insert(0, '/');
            }
        }
        for _ in 0..self.0.u8(1..4) {
            let name = self.one_of(&NAMES);
            path.push_str(&self.spelled(name));
            let between = if self.0.bool() { "/" } else { self.one_of(&BETWEEN) };
            path.push_str(between);
        }
        let name = self.one_of(&NAMES);
        path.push_str(&self.spelled(name));
        if self.0.u8(..8) == 0 {
            path.push_str(self.one_of(&BETWEEN));
        }
        path
    }

    /// A name with some of its letters encoded once or several times.
    fn spelled(&mut self, name: &str) -> String {
        if self.0.u8(..4) > 0 {
            return name.to_owned();
        }
        let mut spelled = String::new();
        for byte in name.bytes() {
            match self.0.u8(..6) {
                0 => spelled.push_str(&format!("%{byte:02x}")),
                1 => spelled.push_str(&format!("%25{byte:02X}")),
                _ => spelled.push(char::from(byte)),
            }
        }
        spelled
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.usize(..all.len())]
    }
}

/// Whether a test of spellings should continue, and its seed.
pub(crate) fn effort(cases: usize) -> (impl FnMut() -> bool, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let end = number("HTTP_WASM_PATHS_SECONDS")
        .map(|seconds| std::time::Instant::now() + std::time::Duration::from_secs(seconds));
    let mut left = cases;
    let goes_on = move || match end {
        Some(end) => std::time::Instant::now() < end,
        None => left.checked_sub(1).map(|less| left = less).is_some(),
    };
    (goes_on, number("HTTP_WASM_PATHS_SEED").unwrap_or(1))
}
