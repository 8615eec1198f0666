//! Lines of code and prose have at most 120 columns. (rustfmt keeps code to 110, except for strings that it can't
//! break.)

use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS: usize = 120;

/// Folders without source files.
const SKIPPED: [&str; 5] = [".git", "target", "node_modules", "corpus", "seeds"];

#[test]
fn no_line_of_code_or_prose_is_longer_than_120_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut long = Vec::new();
    for file in files(&root) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = match file.extension().is_some_and(|extension| extension == "md") {
            true => long_lines_of_markdown(&text),
            false => long_lines(&text),
        };
        let shown = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        long.extend(lines.into_iter().map(|line| format!("{shown}:{line}")));
    }
    assert!(long.is_empty(), "longer than {COLUMNS} columns:\n{}", long.join("\n"));
}

/// The Rust and Markdown files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        // A link may lead anywhere.
        if entry.file_type().unwrap().is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                found.extend(files(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            found.push(path);
        }
    }
    found
}

fn is_long(line: &str) -> bool {
    // A line with a single word, such as a link, can't be broken.
    let words = line.trim_start().trim_start_matches(['/', '!', ' ']).split_whitespace().count();
    line.chars().count() > COLUMNS && words > 1
}

fn long_lines(text: &str) -> Vec<usize> {
    text.lines().enumerate().filter(|(_, line)| is_long(line)).map(|(index, _)| index + 1).collect()
}

/// Long lines, ignoring tables, code blocks and link targets.
fn long_lines_of_markdown(text: &str) -> Vec<usize> {
    let (mut long, mut is_code) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if start.starts_with("```") {
            is_code = !is_code;
        } else if !is_code
            && !start.starts_with('|')
            && !line.starts_with("    ")
            && is_long(&without_link_targets(line))
        {
            long.push(index + 1);
        }
    }
    long
}

fn without_link_targets(line: &str) -> String {
    let mut parts = line.split("](");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += part.split_once(')').map_or(part, |(_, rest)| rest);
    }
    text
}

#[test]
fn tables_code_blocks_and_links_may_be_longer() {
    let long = "word ".repeat(30);
    assert_eq!(
        long_lines_of_markdown(&format!("{long}\n| {long}\n```\n{long}\n```\n    {long}\n{long}")),
        [1, 7]
    );
    let link = format!("see [here]({}) and there", "x".repeat(200));
    assert_eq!(long_lines_of_markdown(&link), [0; 0]);
    assert_eq!(long_lines(&format!("/// {}\n{long}", "x".repeat(200))), [2]);
}
