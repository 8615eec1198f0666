//! What the module says exists in its process.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Envoy;

/// What exists, by name: `filters`, `routes`, `streams`, `guests`, `instances`, `idle`, `memory` and `calls`.
pub(crate) type Inventory = BTreeMap<String, u64>;

/// Arguments of an Envoy whose log says what exists.
pub(crate) const SHOWS_INVENTORY: [&str; 2] = ["--component-log-level", "dynamic_modules:debug"];

const MARK: &str = "; there are now ";

impl Envoy {
    /// What existed when a configuration was loaded or dropped last.
    pub(crate) fn inventory(&self) -> Inventory {
        let log = self.log();
        let line = log.lines().rev().find_map(|line| line.split_once(MARK)).expect("the module logs it").1;
        line.split(' ')
            .filter_map(|field| field.split_once('='))
            .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
            .collect()
    }

    /// Waits until only the current configuration is left, and what `is_left` says.
    ///
    /// The configuration is replaced again and again, by itself and one that differs, since the module logs what exists
    /// when it is.
    pub(crate) fn settle(&mut self, config: [&str; 2], is_left: impl Fn(&Inventory) -> bool) -> Inventory {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            for config in config {
                self.update(config, &[]);
            }
            let quiet = Instant::now() + Duration::from_secs(30);
            let mut inventory = self.inventory();
            while inventory["filters"] > 1 && Instant::now() < quiet {
                std::thread::sleep(Duration::from_millis(50));
                inventory = self.inventory();
            }
            if inventory["filters"] == 1 && is_left(&inventory) {
                return inventory;
            }
            assert!(Instant::now() < deadline, "{inventory:?} are left");
        }
    }

    /// How often a guest has been loaded.
    pub(crate) fn loads(&self, guest: &str) -> usize {
        let mark = format!("guest=\"{guest}\" code_bytes");
        self.log().lines().filter(|line| line.contains("loaded in") && line.contains(&mark)).count()
    }

    /// Its memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of /proc");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }
}
