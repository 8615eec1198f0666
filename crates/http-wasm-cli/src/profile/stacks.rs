//! The sampled stacks, and how often each was seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

/// How often each stack was seen, outermost function first.
#[derive(Debug, Default)]
pub(super) struct Stacks(BTreeMap<Vec<String>, u64>);

/// A function's share of the samples.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Share<'a> {
    pub(super) function: &'a str,
    /// Samples in the function itself.
    pub(super) own: u64,
    /// Samples in the function and what it calls.
    pub(super) total: u64,
}

/// A function on a stack, with the functions that it calls.
#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    pub(super) samples: u64,
    pub(super) calls: BTreeMap<&'a str, Node<'a>>,
}

impl Stacks {
    /// Counts a stack, whose innermost function comes first.
    pub(super) fn add(&mut self, stack: &[String]) {
        *self.0.entry(stack.iter().rev().cloned().collect()).or_default() += 1;
    }

    pub(super) fn samples(&self) -> u64 {
        self.0.values().sum()
    }

    /// A line per stack, as flame graph tools read it: functions separated by `;`, a space, the number of samples.
    pub(super) fn folded(&self) -> String {
        let mut text = String::new();
        for (stack, count) in &self.0 {
            let names: Vec<_> = stack.iter().map(|name| name.replace(';', ":")).collect();
            // Writing to a string doesn't fail.
            let _ = writeln!(text, "{} {count}", names.join(";"));
        }
        text
    }

    /// The functions, sorted by their own samples in descending order.
    pub(super) fn shares(&self) -> Vec<Share<'_>> {
        let mut shares: HashMap<&str, (u64, u64)> = HashMap::new();
        for (stack, count) in &self.0 {
            // A recursive function counts once.
            for function in stack.iter().collect::<BTreeSet<_>>() {
                shares.entry(function).or_default().1 += count;
            }
            if let Some(innermost) = stack.last() {
                shares.entry(innermost).or_default().0 += count;
            }
        }
        let share = |(function, (own, total))| Share { function, own, total };
        let mut shares: Vec<_> = shares.into_iter().map(share).collect();
        shares.sort_by(|a, b| (b.own, b.total, a.function).cmp(&(a.own, a.total, b.function)));
        shares
    }

    /// All stacks as a tree.
    pub(super) fn tree(&self) -> Node<'_> {
        let mut root = Node::default();
        for (stack, count) in &self.0 {
            let mut node = &mut root;
            node.samples += count;
            for function in stack {
                node = node.calls.entry(function).or_default();
                node.samples += count;
            }
        }
        root
    }
}

impl Node<'_> {
    /// The depth of the deepest stack.
    pub(super) fn depth(&self) -> usize {
        self.calls.values().map(|call| 1 + call.depth()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks(seen: &[(&str, u64)]) -> Stacks {
        let mut stacks = Stacks::default();
        for (stack, count) in seen {
            let innermost_first: Vec<_> = stack.split(' ').rev().map(str::to_owned).collect();
            for _ in 0..*count {
                stacks.add(&innermost_first);
            }
        }
        stacks
    }

    #[test]
    fn stacks_are_folded_outermost_first_with_their_counts() {
        let stacks = stacks(&[("main parse", 2), ("main", 1), ("main a;b", 3)]);
        assert_eq!(stacks.folded(), "main 1\nmain;a:b 3\nmain;parse 2\n");
        assert_eq!(stacks.samples(), 6);
        assert_eq!(stacks.tree().depth(), 2);
    }

    #[test]
    fn a_recursive_function_counts_once_per_sample() {
        let stacks = stacks(&[("main walk walk walk", 4), ("main walk leaf", 1)]);
        let shares: Vec<_> =
            stacks.shares().iter().map(|share| (share.function, share.own, share.total)).collect();
        assert_eq!(shares, [("walk", 4, 5), ("leaf", 1, 1), ("main", 0, 5)]);
    }
}
