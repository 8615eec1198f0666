//! Outcomes as a table, as JSON and as JUnit XML.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use super::outcome::{Outcome, Verdict};

const ID_WIDTH: usize = 52;
const SAYS_WIDTH: usize = 100;

/// The header of the table.
pub fn table_head() -> String {
    line("", "case", "what the ABI says", "what was seen")
}

/// A row of the table.
pub fn row(outcome: &Outcome) -> String {
    let (mark, seen) = match &outcome.verdict {
        Verdict::Passed => ("ok", "the same".to_owned()),
        Verdict::Failed(seen) => {
            let note = outcome.differs.map(|what| format!(" (the reference differs: {what})"));
            ("FAIL", format!("{seen}{}", note.unwrap_or_default()))
        }
        Verdict::Skipped(why) => ("skip", why.clone()),
    };
    line(mark, &outcome.id, &outcome.says, &seen)
}

fn line(mark: &str, id: &str, says: &str, seen: &str) -> String {
    format!("{mark:<5} {id:<ID_WIDTH$} {says:<SAYS_WIDTH$} {seen}").trim_end().to_owned()
}

/// How many cases passed, failed and were skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Numbers of passed, failed and skipped cases, by group.
    pub groups: BTreeMap<String, [usize; 3]>,
    /// The same, by section of the ABI.
    pub sections: BTreeMap<String, [usize; 3]>,
    /// The same, for all cases.
    pub total: [usize; 3],
}

impl Summary {
    /// Counts outcomes.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut summary = Self::default();
        for outcome in outcomes {
            let at = match outcome.verdict {
                Verdict::Passed => 0,
                Verdict::Failed(_) => 1,
                Verdict::Skipped(_) => 2,
            };
            summary.total[at] += 1;
            summary.groups.entry(outcome.group.clone()).or_default()[at] += 1;
            summary.sections.entry(outcome.section.to_string()).or_default()[at] += 1;
        }
        summary
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.total[1]
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<20} {:>7} {:>7} {:>7}", "", "passed", "failed", "skipped")?;
        let all = ("total".to_owned(), self.total);
        for (name, [passed, failed, skipped]) in self.groups.clone().into_iter().chain([all]) {
            writeln!(f, "{name:<20} {passed:>7} {failed:>7} {skipped:>7}")?;
        }
        Ok(())
    }
}

/// All outcomes as one JSON object.
pub fn json(outcomes: &[Outcome]) -> Value {
    let [passed, failed, skipped] = Summary::of(outcomes).total;
    let cases: Vec<Value> = outcomes.iter().map(case).collect();
    json!({ "passed": passed, "failed": failed, "skipped": skipped, "cases": cases })
}

fn case(outcome: &Outcome) -> Value {
    let (result, seen) = match &outcome.verdict {
        Verdict::Passed => ("passed", None),
        Verdict::Failed(seen) => ("failed", Some(seen)),
        Verdict::Skipped(why) => ("skipped", Some(why)),
    };
    json!({
        "id": outcome.id,
        "group": outcome.group,
        "section": outcome.section.to_string(),
        "says": outcome.says,
        "reference_differs": outcome.differs,
        "result": result,
        "seen": seen,
        "milliseconds": outcome.time.as_secs_f64() * 1e3,
    })
}

/// All outcomes in JUnit XML.
pub fn junit(outcomes: &[Outcome]) -> String {
    let [_, failed, skipped] = Summary::of(outcomes).total;
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let count = outcomes.len();
    let _ = writeln!(
        xml,
        "<testsuite name=\"http-wasm\" tests=\"{count}\" failures=\"{failed}\" errors=\"0\" skipped=\"{skipped}\">"
    );
    for outcome in outcomes {
        let (group, id, time) = (escape(&outcome.group), escape(&outcome.id), outcome.time.as_secs_f64());
        let _ = write!(xml, "  <testcase classname=\"{group}\" name=\"{id}\" time=\"{time:.3}\">");
        let says = escape(&outcome.says);
        let _ = match &outcome.verdict {
            Verdict::Passed => Ok(()),
            Verdict::Failed(seen) => {
                write!(xml, "<failure message=\"{says}\">{}</failure>", escape(seen))
            }
            Verdict::Skipped(why) => write!(xml, "<skipped message=\"{}\"/>", escape(why)),
        };
        xml.push_str("</testcase>\n");
    }
    xml.push_str("</testsuite>\n");
    xml
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 can't represent most control characters.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::case::Section;

    fn outcome(id: &str, verdict: Verdict) -> Outcome {
        Outcome {
            id: id.to_owned(),
            group: "core".to_owned(),
            section: Section::Fields,
            says: "a \"name\" <is> set & sent".to_owned(),
            differs: Some("it isn't"),
            verdict,
            time: Duration::from_millis(2),
        }
    }

    #[test]
    fn every_output_format_shows_every_outcome() {
        let all = [
            outcome("a/b", Verdict::Passed),
            outcome("a/c", Verdict::Failed("seen <nothing>\n".to_owned())),
            outcome("a/d", Verdict::Skipped("why".to_owned())),
        ];
        let json = json(&all);
        assert_eq!((&json["passed"], &json["failed"], &json["skipped"]), (&1.into(), &1.into(), &1.into()));
        assert_eq!(json["cases"][1]["seen"], "seen <nothing>\n");

        let xml = junit(&all);
        assert_eq!(xml.matches("<testcase ").count(), 3);
        assert_eq!(xml.matches("</testcase>").count(), 3);
        assert!(xml.contains("message=\"a &quot;name&quot; &lt;is&gt; set &amp; sent\""), "{xml}");
        assert!(xml.contains(">seen &lt;nothing&gt;\u{fffd}</failure>"), "{xml}");

        assert!(row(&all[1]).contains("(the reference differs: it isn't)"));
        assert_eq!(Summary::of(&all).total, [1, 1, 1]);
    }
}
