//! The imports between the modules of a crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::source::{Import, Source};

/// A module's path within its crate; empty for the root.
type ModulePath = Vec<String>;

/// The modules of a crate that are files, and their sources.
#[derive(Default)]
pub(crate) struct Crate {
    modules: BTreeMap<ModulePath, Source>,
    /// Modules that are the `mod.rs` of a folder, or the crate's root.
    folders: BTreeSet<ModulePath>,
}

/// Which module imports which, with an example of each import.
pub(crate) type Graph = BTreeMap<(ModulePath, ModulePath), String>;

/// How many re-exports are followed.
const MAX_HOPS: usize = 32;

impl Crate {
    /// Reads the sources below `folder`, starting from `lib.rs`, or from `main.rs` if there is none.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut all = Self::default();
        let root = if folder.join("lib.rs").exists() { "lib" } else { "main" };
        all.add(folder, root, Vec::new());
        all
    }

    fn add(&mut self, folder: &Path, name: &str, path: ModulePath) {
        let nested = folder.join(name);
        let (file, children) = match nested.join("mod.rs") {
            file if file.exists() => (file, nested),
            _ if path.is_empty() => (nested.with_extension("rs"), folder.to_path_buf()),
            _ => (nested.with_extension("rs"), nested),
        };
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let source = Source::parse(&text);
        if !source.modules.is_empty() {
            self.folders.insert(path.clone());
        }
        for module in &source.modules {
            let mut child = path.clone();
            child.push(module.clone());
            self.add(&children, module, child);
        }
        self.modules.insert(path, source);
    }

    /// A crate from the texts of its modules, for tests.
    pub(crate) fn of(texts: &[(&str, &str)]) -> Self {
        let mut all = Self::default();
        for (path, text) in texts {
            let path: ModulePath = path.split("::").filter(|name| !name.is_empty()).map(Into::into).collect();
            let source = Source::parse(text);
            if !source.modules.is_empty() {
                all.folders.insert(path.clone());
            }
            all.modules.insert(path, source);
        }
        all
    }

    /// Each import of the crate's modules, resolved to the module that defines the item: re-exports are followed.
    pub(crate) fn imports(&self) -> Graph {
        let mut graph = Graph::new();
        for (module, source) in &self.modules {
            // A name that is only re-exported is not used here.
            let used = source.uses.iter().filter(|import| {
                !import.is_reexport || import.name.as_deref().is_some_and(|name| source.mentions(name))
            });
            for import in used.chain(&source.paths) {
                if let Some(target) = self.resolve(module, import)
                    && target != *module
                {
                    graph.entry((module.clone(), target)).or_insert_with(|| import.path.join("::"));
                }
            }
        }
        graph
    }

    /// The module that an import's item is in; `None` for other crates.
    fn resolve(&self, module: &ModulePath, import: &Import) -> Option<ModulePath> {
        let scope: ModulePath = module.iter().chain(&import.within).cloned().collect();
        let found = self.find(&scope, &import.path, module, MAX_HOPS)?;
        Some(self.file_of(found))
    }

    /// Follows `path` from `scope`.
    fn find(&self, scope: &[String], path: &[String], from: &ModulePath, hops: usize) -> Option<ModulePath> {
        let hops = hops.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, hops),
            "self" => self.walk_or_up(scope.to_vec(), rest, hops),
            "super" => self.walk_or_up(scope[..scope.len().checked_sub(1)?].to_vec(), rest, hops),
            name => {
                // The first segment is a module declared here, or a name imported here.
                let mut child = from.clone();
                child.push(name.into());
                if self.modules.contains_key(&child) {
                    return self.walk(child, rest, hops);
                }
                let import = self.modules.get(from)?.uses.iter().find(|import| {
                    import.name.as_deref() == Some(name) && import.path.first().is_some_and(|f| f != name)
                })?;
                // A path through an imported item is already counted with that import.
                let scope: ModulePath = from.iter().chain(&import.within).cloned().collect();
                let target = self.find(&scope, &import.path, from, hops)?;
                match self.modules.contains_key(&target) && self.names_module(&target, &import.path) {
                    true => self.walk(target, rest, hops),
                    false => Some(target),
                }
            }
        }
    }

    /// Whether `path` ends with the name of the module itself rather than that of an item in it.
    fn names_module(&self, target: &[String], path: &[String]) -> bool {
        target.last() == path.last()
    }

    fn walk_or_up(&self, scope: ModulePath, rest: &[String], hops: usize) -> Option<ModulePath> {
        match rest.first().map(String::as_str) {
            Some("super") => self.walk_or_up(scope[..scope.len().checked_sub(1)?].to_vec(), &rest[1..], hops),
            _ => self.walk(scope, rest, hops),
        }
    }

    /// Follows `path` down from `module`, including re-exports on the way.
    fn walk(&self, mut module: ModulePath, path: &[String], hops: usize) -> Option<ModulePath> {
        for (at, name) in path.iter().enumerate() {
            module.push(name.clone());
            if self.modules.contains_key(&module) {
                continue;
            }
            module.pop();
            let import =
                self.modules.get(&module).filter(|source| !source.defines(name)).and_then(|source| {
                    source
                        .uses
                        .iter()
                        .find(|import| import.within.is_empty() && import.name.as_ref() == Some(name))
                });
            let Some(import) = import else { return Some(module) };
            // An item of another crate counts as this module's.
            let Some(target) = self.find(&module, &import.path, &module, hops) else { return Some(module) };
            return match self.names_module(&target, &import.path) {
                true => self.walk(target, &path[at + 1..], hops.checked_sub(1)?),
                false => Some(target),
            };
        }
        Some(module)
    }

    /// The module whose file `path` is in.
    fn file_of(&self, mut path: ModulePath) -> ModulePath {
        while !self.modules.contains_key(&path) && path.pop().is_some() {}
        path
    }

    /// Modules that import a higher layer, or that aren't in `layers`, which begins with the lowest one.
    pub(crate) fn upward(&self, layers: &[&str]) -> Vec<String> {
        let rank = |path: &ModulePath| path.first().map(|top| layers.iter().position(|layer| layer == top));
        let mut faults = Vec::new();
        for path in self.modules.keys().filter(|path| path.len() == 1) {
            if !layers.contains(&&*path[0]) {
                faults.push(format!("{} is in no layer", show(path)));
            }
        }
        for ((from, to), example) in self.imports() {
            if let (Some(Some(low)), Some(Some(high))) = (rank(&from), rank(&to))
                && low < high
            {
                faults.push(format!("{} imports {example} of {}, a higher layer", show(&from), show(&to)));
            }
        }
        faults
    }

    /// The groups of modules that import each other, in each folder. Subfolders count as one module.
    pub(crate) fn cycles(&self) -> Vec<String> {
        let imports = self.imports();
        let mut cycles = Vec::new();
        for folder in &self.folders {
            let mut edges: BTreeMap<(String, String), String> = BTreeMap::new();
            for ((from, to), example) in &imports {
                if let (Some(a), Some(b)) = (child(folder, from), child(folder, to))
                    && a != b
                {
                    let text = format!("{} imports {example} of {}", show(from), show(to));
                    edges.entry((a, b)).or_insert(text);
                }
            }
            for group in groups(&edges) {
                let mut text = format!("in {}: {} import each other", show(folder), group.join(", "));
                for ((a, b), example) in &edges {
                    if group.contains(a) && group.contains(b) {
                        let _ = write!(text, "\n    {example}");
                    }
                }
                cycles.push(text);
            }
        }
        cycles
    }
}

/// The child of `folder` that `path` is or is in; the folder's own file is "mod".
fn child(folder: &[String], path: &[String]) -> Option<String> {
    let rest = path.strip_prefix(folder)?;
    Some(rest.first().map_or_else(|| "mod".into(), Clone::clone))
}

/// The strongly connected groups of more than one node.
fn groups(edges: &BTreeMap<(String, String), String>) -> Vec<Vec<String>> {
    let reach = |start: &String| {
        let mut seen = BTreeSet::new();
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            for (_, to) in edges.keys().filter(|(from, _)| from == node) {
                if seen.insert(to) {
                    open.push(to);
                }
            }
        }
        seen
    };
    let nodes: BTreeSet<&String> = edges.keys().flat_map(|(from, to)| [from, to]).collect();
    let reached: BTreeMap<_, _> = nodes.iter().map(|node| (*node, reach(node))).collect();
    let mut groups: Vec<Vec<String>> = Vec::new();
    for node in nodes {
        if groups.iter().any(|group| group.contains(node)) || !reached[node].contains(node) {
            continue;
        }
        let group = reached[node].iter().filter(|other| reached[**other].contains(node));
        groups.push(group.map(|node| (*node).clone()).collect());
    }
    groups
}

fn show(path: &[String]) -> String {
    if path.is_empty() { "the root".into() } else { path.join("::") }
}
