//! The objects that the module reports to exist in its process.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Envoy;

/// Numbers of objects by name: `filters`, `routes`, `streams`, `guests`, `instances`, `idle`, `memory` and `calls`.
pub(crate) type Inventory = BTreeMap<String, u64>;

/// Arguments that make Envoy log the inventory.
pub(crate) const SHOWS_INVENTORY: [&str; 2] = ["--component-log-level", "dynamic_modules:debug"];

const MARK: &str = "; there are now ";

impl Envoy {
    /// The inventory when a configuration was last loaded or dropped.
    pub(crate) fn inventory(&self) -> Inventory {
        let log = self.log();
        let line = log.lines().rev().find_map(|line| line.split_once(MARK)).expect("the module logs it").1;
        line.split(' ')
            .filter_map(|field| field.split_once('='))
            .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
            .collect()
    }

    /// Waits until only the current configuration is left, and `is_left` is satisfied.
    ///
    /// The module logs its inventory when a configuration is replaced, so this alternates between two configurations.
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
