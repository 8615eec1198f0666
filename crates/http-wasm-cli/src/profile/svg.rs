//! A flame graph: each function is as wide as its share of the samples, above the one that called it.

use std::fmt::Write as _;

use super::stacks::Node;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 18.0;
const MARGIN: f64 = 10.0;
const TOP: f64 = 64.0;
/// The width of a character, roughly.
const CHAR: f64 = 6.6;
/// Narrower functions are left out.
const MIN_WIDTH: f64 = 0.2;

/// The image as SVG. `note` says how the samples were taken.
pub(super) fn flame_graph(root: &Node<'_>, title: &str, note: &str) -> String {
    let height = TOP + ROW * root.depth() as f64 + MARGIN;
    let mut svg = String::new();
    // Writing to a string doesn't fail.
    let _ = write!(
        svg,
        r##"<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">
<rect width="100%" height="100%" fill="#fff"/>
<text x="{MARGIN}" y="24" font-size="16">{}</text>
<text x="{MARGIN}" y="44" fill="#555">{}</text>
"##,
        escaped(title),
        escaped(note),
    );
    let bottom = height - MARGIN - ROW;
    let scale = (WIDTH - 2.0 * MARGIN) / root.samples.max(1) as f64;
    draw(&mut svg, root, MARGIN, bottom, scale, root.samples);
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, node: &Node<'_>, mut x: f64, y: f64, scale: f64, all: u64) {
    for (function, call) in &node.calls {
        let width = call.samples as f64 * scale;
        if width >= MIN_WIDTH {
            let share = call.samples as f64 * 100.0 / all.max(1) as f64;
            let room = ((width - 6.0) / CHAR).max(0.0) as usize;
            let label: String = match function.chars().count() {
                length if length <= room => (*function).to_owned(),
                _ if room > 3 => function.chars().take(room - 1).chain(['…']).collect(),
                _ => String::new(),
            };
            let _ = writeln!(
                svg,
                concat!(
                    r##"<g><title>{name} ({samples} samples, {share:.1} %)</title>"##,
                    r##"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{row:.1}" fill="{color}" rx="1"/>"##,
                    r##"<text x="{text_x:.1}" y="{text_y:.1}">{label}</text></g>"##
                ),
                name = escaped(function),
                samples = call.samples,
                share = share,
                x = x,
                y = y,
                width = width,
                row = ROW - 1.0,
                color = color(function),
                text_x = x + 3.0,
                text_y = y + 12.0,
                label = escaped(&label),
            );
            draw(svg, call, x, y - ROW, scale, all);
        }
        x += width;
    }
}

/// A warm colour, always the same for a function.
fn color(function: &str) -> String {
    let hash = function
        .bytes()
        .fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    format!("hsl({}, 85%, {}%)", hash % 50, 62 + hash / 50 % 14)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            char if char.is_control() => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::stacks::Stacks;
    use super::*;

    #[test]
    fn a_function_is_as_wide_as_its_share_and_above_its_caller() {
        let mut stacks = Stacks::default();
        for (innermost, count) in [("<leaf>", 3), ("other", 1)] {
            for _ in 0..count {
                stacks.add(&[innermost.to_owned(), "main".to_owned()]);
            }
        }
        let svg = flame_graph(&stacks.tree(), "g", "note & more");
        let rect = |name: &str| {
            let line =
                svg.lines().find(|line| line.contains(&format!("<title>{name} ("))).expect("it is drawn");
            let value = |attribute: &str| {
                let rest = line.split(&format!(" {attribute}=\"")).nth(1).expect("it has this attribute");
                rest.split('"').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
            };
            (value("width"), value("y"))
        };
        let (main, leaf, other) = (rect("main"), rect("&lt;leaf&gt;"), rect("other"));
        assert_eq!((main.0, leaf.0, other.0), (1180.0, 885.0, 295.0));
        assert!(main.1 > leaf.1 && leaf.1 == other.1, "{svg}");
        assert!(svg.contains("note &amp; more") && svg.contains("3 samples, 75.0 %"), "{svg}");
    }
}
