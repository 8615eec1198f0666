//! What an LLM-like upstream sends, and what clients must receive.

use std::fmt::Write as _;

/// Random numbers, reproducible from a seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// The beginning of each value that clients must not receive.
pub(super) const SECRET: &str = "078-05";

/// An event as sent, and as it must arrive. Its ID is its number.
pub(super) fn event(seed: u64, at: usize) -> (String, String) {
    let mut random = Random::new(seed ^ (at as u64) << 20);
    let (mut sent, mut redacted) = (format!("id: {at}\ndata: {{"), format!("id: {at}\ndata: {{"));
    for number in 0..random.below(6) {
        let comma = if number == 0 { "" } else { "," };
        let (before, after) = (random.pick(&["", " ", "  ", "\t"]), random.pick(&["", " ", "\t "]));
        let text = random.pick(&[
            "",
            "a",
            "\\\"",
            "\\\\",
            "é",
            "\\\"ssn\\\":\\\"x\\\"",
            "ssn",
            "a much longer text",
        ]);
        match random.below(5) {
            0 | 1 => {
                let _ = write!(sent, "{comma}\"ssn\"{before}:{after}\"{SECRET}{text}\"");
                let _ = write!(redacted, "{comma}\"ssn\"{before}:{after}\"***\"");
            }
            2 => {
                let field = format!(
                    "{comma}\"ssn\"{before}:{after}{}",
                    random.pick(&["7", "null", "[\"ssn\"]", "{}"])
                );
                sent.push_str(&field);
                redacted.push_str(&field);
            }
            _ => {
                let name = random.pick(&["delta", "ss", "ssnn", "\\\"ssn", "ssn\\\\", "xssn", ""]);
                let field = format!("{comma}\"{name}\"{before}:{after}\"{text}\"");
                sent.push_str(&field);
                redacted.push_str(&field);
            }
        }
    }
    sent.push_str("}\n\n");
    redacted.push_str("}\n\n");
    (sent, redacted)
}

/// The events from `first` on, with at least this many bytes, as sent and as they must arrive.
pub(super) fn events(seed: u64, first: usize, bytes: usize) -> (Vec<String>, String) {
    let (mut sent, mut redacted, mut len) = (Vec::new(), String::new(), 0);
    while len < bytes {
        let (event, arrives) = event(seed, first + sent.len());
        len += event.len();
        sent.push(event);
        redacted.push_str(&arrives);
    }
    (sent, redacted)
}
