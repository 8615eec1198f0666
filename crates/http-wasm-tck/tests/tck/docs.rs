//! Checks docs/conformance.md against the kit.

use std::collections::BTreeSet;

use http_wasm_tck::case::Case;
use http_wasm_tck::cases;

#[test]
fn every_group_and_every_difference_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let cases = cases::all();
    let groups: BTreeSet<&str> = cases.iter().map(Case::group).collect();
    for group in groups {
        assert!(docs.contains(&format!("| `{group}` |")), "{group}");
    }
    let differences: BTreeSet<&str> = cases.iter().filter_map(Case::difference).collect();
    for difference in differences {
        assert!(docs.contains(&format!("| {difference} |")), "{difference}");
    }
}
