//! The results of cases: as text with differences and traces, and as JUnit XML.

use std::fmt::Write as _;
use std::time::Duration;

use super::compare::Difference;
use crate::exchange::{Entry, Paint, print_trace};

/// The result of a case.
pub(crate) struct Outcome {
    pub(crate) name: String,
    /// Its line in the file.
    pub(crate) line: usize,
    pub(crate) took: Duration,
    /// Why it couldn't be run.
    pub(crate) invalid: Option<String>,
    pub(crate) differences: Vec<Difference>,
    pub(crate) entries: Vec<Entry>,
}

impl Outcome {
    pub(crate) fn passed(&self) -> bool {
        self.invalid.is_none() && self.differences.is_empty()
    }

    /// Why it failed, as text.
    pub(crate) fn explain(&self, file: &str, paint: Paint) -> String {
        let mut out = String::new();
        let (bad, reset) = (paint.bad.render(), paint.bad.render_reset());
        // Writing to a string doesn't fail.
        let _ = writeln!(out, "{bad}FAILED{reset} {} ({file}:{})", self.name, self.line);
        if let Some(reason) = &self.invalid {
            let _ = writeln!(out, "  {reason}");
            return out;
        }
        for difference in &self.differences {
            let _ = writeln!(out, "  {}", difference.what);
            out += &diff(&difference.expected, &difference.found, paint);
        }
        let _ = writeln!(out, "  what the guest did:");
        let mut trace = String::new();
        print_trace(&mut trace, &self.entries, paint);
        for line in trace.lines() {
            let _ = writeln!(out, "    {line}");
        }
        out
    }
}

/// A diff: missing and unexpected lines, with some context.
fn diff(expected: &str, found: &str, paint: Paint) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.split('\n').collect(), found.split('\n').collect());
    let start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let both = old.len().min(new.len()) - start;
    let end = old.iter().rev().zip(new.iter().rev()).take(both).take_while(|(old, new)| old == new).count();
    let mut out = String::new();
    let mut lines = |mark: char, lines: &[&str], style: clap::builder::styling::Style| {
        for line in lines {
            let line: String =
                line.chars().map(|c| if c.is_control() && c != '\t' { '·' } else { c }).collect();
            let _ = writeln!(out, "    {}{mark} {line}{}", style.render(), style.render_reset());
        }
    };
    // Lines of context.
    const CONTEXT: usize = 2;
    let before = start.saturating_sub(CONTEXT);
    lines(' ', &old[before..start], paint.dim);
    lines('-', &old[start..old.len() - end], paint.bad);
    lines('+', &new[start..new.len() - end], paint.good);
    lines(' ', &old[old.len() - end..][..end.min(CONTEXT)], paint.dim);
    out
}

/// The results in JUnit XML format.
pub(crate) fn junit(guest: &str, file: &str, outcomes: &[Outcome]) -> String {
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let took: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" time=\"{:.6}\">",
        xml(guest),
        outcomes.len(),
        took.as_secs_f64()
    );
    for outcome in outcomes {
        let _ = write!(
            out,
            "  <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.6}\"",
            xml(guest),
            xml(&outcome.name),
            xml(file),
            outcome.line,
            outcome.took.as_secs_f64()
        );
        if outcome.passed() {
            out += "/>\n";
            continue;
        }
        let first = outcome.differences.first().map(|difference| difference.what.as_str());
        let message = outcome.invalid.as_deref().or(first).unwrap_or_default();
        let text = outcome.explain(file, Paint::default());
        let _ = writeln!(
            out,
            ">\n    <failure message=\"{}\">{}</failure>\n  </testcase>",
            xml(message),
            xml(&text)
        );
    }
    out += "</testsuite>\n";
    out
}

/// Escapes text for XML. Most control characters aren't allowed there at all, and are replaced.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_changed_lines_with_a_few_lines_of_context() {
        let shown = diff("a\nb\nc\nd\ne\nf", "a\nb\nc\nx\ny\ne\nf", Paint::default());
        assert_eq!(shown, "      b\n      c\n    - d\n    + x\n    + y\n      e\n      f\n");
        assert_eq!(diff("401", "200", Paint::default()), "    - 401\n    + 200\n");
        assert_eq!(diff("a\na", "a", Paint::default()), "      a\n    - a\n");
    }

    #[test]
    fn junit_output_escapes_characters_that_xml_does_not_allow() {
        assert_eq!(xml("<a b=\"c\">\u{1b}&"), "&lt;a b=&quot;c&quot;&gt;\u{fffd}&amp;");
    }
}
