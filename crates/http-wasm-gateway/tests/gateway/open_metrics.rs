//! A strict parser for the OpenMetrics text format.

use std::collections::{BTreeMap, BTreeSet};

/// The values by series, as `name{label="value",…}` with sorted labels.
#[derive(Debug)]
pub(crate) struct Scrape(BTreeMap<String, f64>);

#[derive(Debug, Default)]
struct Family {
    kind: String,
    has_help: bool,
}

impl Scrape {
    /// Parses a scrape. Panics with the line that violates a rule.
    pub(crate) fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("the text ends with # EOF");
        let (mut series, mut families) = (BTreeMap::new(), BTreeMap::<String, Family>::new());
        let mut current = String::new();
        let mut finished = BTreeSet::new();
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let mut word = || words.next().unwrap_or_else(|| panic!("too short: {line}"));
                let (what, name, value) = (word(), word(), word());
                if name != current {
                    assert!(finished.insert(name.to_owned()), "a family in two places: {line}");
                    name.clone_into(&mut current);
                }
                let family = families.entry(name.to_owned()).or_default();
                match what {
                    "HELP" => family.has_help = value.ends_with('.'),
                    "TYPE" => value.clone_into(&mut family.kind),
                    "UNIT" => {
                        assert!(name.ends_with(&format!("_{value}")), "the name lacks the unit: {line}");
                    }
                    _ => panic!("no such comment: {line}"),
                }
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            let base = name.split('{').next().unwrap();
            let suffix = base.strip_prefix(&current).unwrap_or_else(|| panic!("outside its family: {line}"));
            let family = &families[&current];
            assert!(family.has_help, "no help: {line}");
            let allowed: &[&str] = match &*family.kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_count", "_sum"],
                "info" => &["_info"],
                kind => panic!("unknown type {kind}: {line}"),
            };
            assert!(allowed.contains(&suffix), "{suffix:?} is nothing that a {} has: {line}", family.kind);
            assert!(value.is_finite() && (suffix.is_empty() || value >= 0.0), "{line}");
            assert!(series.insert(sorted(name), value).is_none(), "the same series twice: {line}");
        }
        let scrape = Self(series);
        scrape.check_histograms();
        scrape
    }

    /// The value of a series, 0 if there is none.
    pub(crate) fn get(&self, series: &str) -> f64 {
        self.0.get(&sorted(series)).copied().unwrap_or_default()
    }

    pub(crate) fn has(&self, series: &str) -> bool {
        self.0.contains_key(&sorted(series))
    }

    /// The sum of all series of this name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.0
            .iter()
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .map(|(_, value)| value)
            .sum()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|series| series.split('{').next().unwrap())
    }

    /// Checks that buckets are cumulative, and that the last one has all samples.
    fn check_histograms(&self) {
        let mut last: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (series, value) in &self.0 {
            let Some((name, labels)) = series.split_once("_bucket{") else { continue };
            let (le, others): (Vec<_>, Vec<_>) =
                labels.trim_end_matches('}').split(',').partition(|label| label.starts_with("le="));
            let bound = le[0].trim_start_matches("le=").trim_matches('"').replace("+Inf", "inf");
            let count = match others.as_slice() {
                [] => format!("{name}_count"),
                others => format!("{name}_count{{{}}}", others.join(",")),
            };
            last.entry(count).or_default().push((bound.parse().expect("a bound"), *value));
        }
        for (count, mut buckets) in last {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{count}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, self.0[&count])), "{count}");
        }
    }
}

/// Sorts the labels. In these tests, no label value contains a comma.
fn sorted(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let labels: BTreeSet<&str> = labels.trim_end_matches('}').split(',').collect();
    format!("{name}{{{}}}", labels.into_iter().collect::<Vec<_>>().join(","))
}
