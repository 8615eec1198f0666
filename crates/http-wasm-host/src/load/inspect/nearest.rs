//! "Did you mean …" for misspelt names.

/// The candidate closest to `name`, if it is close enough to be meant.
///
/// Case, `-`, `_` and `.` are ignored: `getMethod` is an exact match for `get_method`.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // No known name is anywhere near this length, and the comparison is quadratic.
    const LONGEST: usize = 40;
    if name.len() > LONGEST {
        return None;
    }
    let plain = normalised(name);
    candidates
        .map(|candidate| (distance(&plain, &normalised(candidate)), candidate))
        .filter(|&(distance, candidate)| distance <= candidate.len() / 4)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

fn normalised(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.')).flat_map(char::to_lowercase).collect()
}

/// Levenshtein distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["get_method", "set_method", "get_header_values", "log"];

    #[test]
    fn a_slip_or_another_spelling_convention_is_recognised() {
        for (found, meant) in [
            ("get_metod", "get_method"),
            ("setMethod", "set_method"),
            ("get-header-value", "get_header_values"),
            ("Log", "log"),
        ] {
            assert_eq!(nearest(found, NAMES.into_iter()), Some(meant), "{found}");
        }
    }

    #[test]
    fn a_name_like_no_other_gets_no_suggestion() {
        for found in ["lug", "frobnicate", "", &"get_method".repeat(100)] {
            assert_eq!(nearest(found, NAMES.into_iter()), None, "{found}");
        }
    }
}
