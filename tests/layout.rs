//! How the files of each crate depend on each other: in one direction, without circles.
//!
//! The sources are read as text: every path that begins with `crate::` or `super::` is an arrow
//! from the file it stands in to the file that defines what it names, through `pub use` of
//! `lib.rs` and `mod.rs`. Unit tests and comments are left out.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's path in its crate: `["s3", "error"]`; empty for `lib.rs` and `main.rs`.
type Module = Vec<String>;

/// The files of one crate, by their module paths.
struct Crate {
    sources: BTreeMap<Module, String>,
}

impl Crate {
    fn read(src: &Path) -> Self {
        let mut sources = BTreeMap::new();
        let mut directories = vec![src.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let module = module_of(path.strip_prefix(src).unwrap());
                    let text = code_of(&fs::read_to_string(&path).unwrap());
                    sources.entry(module).or_insert_with(String::new).push_str(&text);
                }
            }
        }
        Self { sources }
    }

    /// The file that defines what a path names, as far as the text tells.
    fn resolve(&self, path: &[String]) -> Module {
        let mut module = Module::new();
        let mut rest = path;
        while let Some((name, after)) = rest.split_first() {
            let mut inner = module.clone();
            inner.push(name.clone());
            if !self.sources.contains_key(&inner) {
                break;
            }
            module = inner;
            rest = after;
        }
        match rest.first().and_then(|name| self.reexport(&module, name)) {
            Some(origin) if origin != path => self.resolve(&origin),
            _ => module,
        }
    }

    /// What a module re-exports under a name, as a path from the crate's root.
    fn reexport(&self, module: &Module, name: &str) -> Option<Vec<String>> {
        let text = self.sources.get(module)?;
        let uses = uses_of(text).filter(|(public, _)| *public);
        uses.flat_map(|(_, tree)| leaves(&tree)).find_map(|leaf| {
            (leaf.last().map(String::as_str) == Some(name)).then(|| absolute(&leaf, module))
        })
    }

    fn arrows(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut arrows = BTreeMap::new();
        for (module, text) in &self.sources {
            let mut targets = BTreeSet::new();
            for path in paths_of(text) {
                let target = self.resolve(&absolute(&path, module));
                // A module and those inside it are one room seen from inside.
                if !target.starts_with(module) && !target.is_empty() {
                    targets.insert(target);
                }
            }
            arrows.insert(module.clone(), targets);
        }
        arrows
    }
}

fn module_of(relative: &Path) -> Module {
    let mut module: Module = relative
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// The code without comments and without the unit tests at its end.
fn code_of(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines =
        code.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// A path from the crate's root.
fn absolute(path: &[String], module: &[String]) -> Vec<String> {
    let mut base = module.to_vec();
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = after;
    }
    base.extend(rest.iter().cloned());
    base
}

/// The `use` declarations of a text: whether they are public, and what follows the word.
fn uses_of(text: &str) -> impl Iterator<Item = (bool, String)> {
    text.split(';').filter_map(|statement| {
        let statement = statement.trim_start();
        let start = statement.rfind("use ")?;
        let before = statement[..start].trim_end();
        let own =
            before.is_empty() || before.ends_with(['}', ')', ']', '\n']) || before.ends_with("pub");
        let public = before.ends_with("pub") || before.ends_with("pub(crate)");
        own.then(|| (public, statement[start + 4..].split_whitespace().collect::<String>()))
    })
}

/// The paths that a `use` tree names: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn leaves(tree: &str) -> Vec<Vec<String>> {
    let Some(brace) = tree.find('{') else {
        let name = tree.split("as").next().filter(|_| tree.contains(" as ")).unwrap_or(tree);
        return vec![name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()];
    };
    let prefix: Vec<String> =
        tree[..brace].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let inside = tree[brace + 1..].strip_suffix('}').unwrap_or_default();
    let mut all = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                for leaf in leaves(&inside[start..at]) {
                    all.push(prefix.iter().cloned().chain(leaf).collect());
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    all
}

/// Every path of the crate that a text names.
fn paths_of(text: &str) -> Vec<Vec<String>> {
    let mut paths: Vec<Vec<String>> = uses_of(text).flat_map(|(_, tree)| leaves(&tree)).collect();
    paths.retain(|path| {
        path.first().is_some_and(|first| matches!(first.as_str(), "crate" | "super"))
    });
    for keyword in ["crate::", "super::"] {
        for (at, _) in text.match_indices(keyword) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let end = text[at..].find(|c| !is_path(c)).map_or(text.len(), |length| at + length);
            let path = text[at..end].split("::").filter(|part| !part.is_empty());
            paths.push(path.map(str::to_owned).collect());
        }
    }
    paths.retain(|path| path.len() > 1);
    paths
}

/// All modules that a module depends on, directly or through others.
fn reached(arrows: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut all = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for target in arrows.get(module).into_iter().flatten() {
            if all.insert(target.clone()) {
                next.push(target);
            }
        }
    }
    all
}

/// Groups of modules each of which depends on all others of its group.
fn circles(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<BTreeSet<Module>> {
    let reach: BTreeMap<_, _> =
        arrows.keys().map(|module| (module, reached(arrows, module))).collect();
    let mut circles = BTreeSet::new();
    for (module, own) in &reach {
        let group: BTreeSet<Module> = own
            .iter()
            .filter(|other| reach.get(other).is_some_and(|theirs| theirs.contains(*module)))
            .cloned()
            .collect();
        if !group.is_empty() {
            circles.insert(group);
        }
    }
    circles
}

fn crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.join("Cargo.toml").exists()).collect()
}

#[test]
fn no_files_of_a_crate_depend_on_each_other_in_a_circle() {
    let mut found = Vec::new();
    for directory in crates() {
        let arrows = Crate::read(&directory.join("src")).arrows();
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        for group in circles(&arrows) {
            let modules: Vec<String> = group.iter().map(|module| module.join("::")).collect();
            found.push(format!("{name}: {}", modules.join(", ")));
        }
    }
    assert!(found.is_empty(), "circles:\n{}", found.join("\n"));
}

#[test]
fn a_circle_is_found_through_names_that_are_handed_on() {
    let text = |text: &str| code_of(text);
    let sources = BTreeMap::from([
        (vec![], text("mod a;\nmod b;\npub use b::{B, other};\n")),
        (vec!["a".to_owned()], text("use crate::{B, c::{D, E}};\n// crate::b::B\nstruct A;\n")),
        (
            vec!["b".to_owned()],
            text("fn f() { super::a::run() }\n#[cfg(test)]\nmod tests { use crate::c; }\n"),
        ),
        (vec!["c".to_owned()], text("pub struct D;\n")),
    ]);
    let arrows = Crate { sources }.arrows();
    let module = |name: &str| vec![name.to_owned()];
    assert_eq!(arrows[&module("a")], BTreeSet::from([module("b"), module("c")]));
    assert_eq!(arrows[&module("b")], BTreeSet::from([module("a")]));
    assert_eq!(circles(&arrows), BTreeSet::from([BTreeSet::from([module("a"), module("b")])]));
}
