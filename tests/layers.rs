//! Dependencies between files and crates: no circle of files inside a crate, and no arrow up between crates. Read from
//! the `use` lines, from paths such as `jobs::stage` in the code, and from the Cargo.toml files.
//!
//! A path counts for the file that defines its last name, even if a parent re-exports it. Test code (`#[cfg(test)]`,
//! files named `tests`) may depend on everything and is not read. A parent module declares and re-exports its children,
//! and the children may use its definitions: that is the usual shape in Rust, so an arrow between a file and one below
//! it in the same folder makes no circle. Parents that use their children and are used by them are listed instead
//! ([`KNOTS`]), so that the list can only become shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// All our crates, the lowest first: folder, name, and the crates on which each may depend.
const CRATES: [(&str, &str, &[&str]); 16] = [
    ("shared/documents", "documents", &[]),
    ("shared/domain", "domain", &[]),
    ("sandbox", "sandbox", &[]),
    ("shared/config", "config", &["domain"]),
    ("shared/redis_server", "redis_server", &["config", "domain"]),
    ("shared/telemetry", "telemetry", &["config"]),
    ("shared/failpoint", "failpoint", &["domain", "telemetry"]),
    ("shared/gateway", "gateway", &["config", "domain", "redis_server", "telemetry"]),
    ("http_server", "http_server", &["telemetry"]),
    ("shared/queue", "queue", &["domain", "redis_server"]),
    ("shared/store", "store", &["config", "domain", "failpoint", "telemetry"]),
    ("shared/audit", "audit", &["domain", "store"]),
    (
        "shared/process",
        "process",
        &["config", "domain", "failpoint", "gateway", "queue", "redis_server", "store", "telemetry"],
    ),
    ("api", "api", &["config", "domain", "gateway", "http_server", "process", "queue", "store", "telemetry"]),
    (
        "worker",
        "worker",
        &["config", "domain", "failpoint", "gateway", "http_server", "process", "queue", "store", "telemetry"],
    ),
    (
        "cli",
        "tasdiq",
        &[
            "api",
            "audit",
            "config",
            "domain",
            "failpoint",
            "gateway",
            "http_server",
            "process",
            "queue",
            "redis_server",
            "sandbox",
            "store",
            "telemetry",
            "worker",
        ],
    ),
];

/// Crates for the outside world, and our crates that may use them.
const DOORS: [(&str, &[&str]); 4] = [
    ("sqlx", &["store"]),
    ("sqlx-core", &["store"]),
    ("reqwest", &["gateway"]),
    ("redis", &["redis_server", "gateway", "process", "queue"]),
];

/// Parents that contain both things used by their children and code that calls the children.
const KNOTS: [&str; 6] = [
    "shared/store/src/lib.rs",
    "shared/store/src/reviewing.rs",
    "shared/audit/src/lib.rs",
    "api/src/lib.rs",
    "worker/src/lib.rs",
    "cli/src/orders.rs",
];

/// One `use` of a name, or one path in the code.
#[derive(Clone, Debug)]
struct Import {
    /// The path as written; a `*` at its end takes everything.
    path: Vec<String>,
    /// The name in this file.
    name: String,
    is_public: bool,
}

/// A source file: one module.
#[derive(Debug, Default)]
struct SourceFile {
    /// Relative to the top folder.
    path: String,
    defined: BTreeSet<String>,
    imports: Vec<Import>,
    paths: Vec<Vec<String>>,
}

/// The files of one crate, by module path.
struct Crate(BTreeMap<Vec<String>, SourceFile>);

impl Crate {
    fn read(name: &str) -> Crate {
        let top = top();
        let root = top.join(name).join("src");
        let mut files = Vec::new();
        collect(&root, &mut files);
        let mut sources = BTreeMap::new();
        for file in files {
            let below = file.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if module == ["lib"] || module == ["main"] {
                module.clear();
            }
            let path = file.strip_prefix(&top).unwrap().to_string_lossy().into_owned();
            sources.insert(module, read(path, &fs::read_to_string(&file).unwrap()));
        }
        Crate(sources)
    }

    /// The module that defines the last name of the path; `None` for other crates and for a module itself.
    fn home<'a>(&self, from: &[String], path: &'a [String], depth: usize) -> Option<Vec<String>> {
        if depth > 20 {
            return None;
        }
        let first: &'a str = path.first()?;
        match first {
            "crate" => self.below(&[], &path[1..], depth),
            "self" => self.below(from, &path[1..], depth),
            "super" => {
                let parent = &from[..from.len().checked_sub(1)?];
                let rest = &path[1..];
                if rest.first().is_some_and(|next| next == "super") {
                    self.home(parent, rest, depth + 1)
                } else {
                    self.below(parent, rest, depth)
                }
            }
            _ if path.len() > 1 => {
                let child = joined(from, first);
                if self.0.contains_key(&child) {
                    return self.below(&child, &path[1..], depth);
                }
                let import = self.0.get(from)?.imports.iter().find(|import| import.name == first)?;
                if import.path.first().is_some_and(|word| word == first) {
                    return None; // another crate, by its own name
                }
                let whole: Vec<String> = import.path.iter().chain(&path[1..]).cloned().collect();
                self.home(from, &whole, depth + 1)
            }
            _ => None,
        }
    }

    /// Like [`Crate::home`], for a path that begins inside the module.
    fn below(&self, module: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        let source = self.0.get(module)?;
        let name = path.first()?;
        if name == "*" {
            return Some(module.to_vec());
        }
        let child = joined(module, name);
        if self.0.contains_key(&child) && !(path.len() == 1 && source.defined.contains(name)) {
            return self.below(&child, &path[1..], depth);
        }
        if source.defined.contains(name) {
            return Some(module.to_vec());
        }
        for import in &source.imports {
            let whole: Vec<String> = if import.name == *name {
                import.path.iter().chain(&path[1..]).cloned().collect()
            } else if import.name == "*" && import.is_public {
                import.path[..import.path.len() - 1].iter().chain(path).cloned().collect()
            } else {
                continue;
            };
            if let Some(home) = self.home(module, &whole, depth + 1) {
                return Some(home);
            }
            if import.name == *name {
                return None; // of another crate, or a module
            }
        }
        Some(module.to_vec())
    }

    /// The uses of each file, by the used file.
    fn arrows(&self) -> BTreeMap<&[String], BTreeMap<&[String], String>> {
        let mut arrows = BTreeMap::new();
        for (module, source) in &self.0 {
            let mut uses = BTreeMap::new();
            let imported = source.imports.iter().map(|import| (&import.path, import.is_public));
            let written = source.paths.iter().map(|path| (path, false));
            for (path, is_public) in imported.chain(written) {
                let Some(home) = self.home(module, path, 0) else { continue };
                let Some((home, _)) = self.0.get_key_value(&home) else { continue };
                let is_list_of_contents = is_public && home.starts_with(module);
                if home != module && !is_list_of_contents {
                    uses.entry(home.as_slice()).or_insert_with(|| path.join("::"));
                }
            }
            arrows.insert(module.as_slice(), uses);
        }
        arrows
    }

    /// The circles, each with its arrows.
    fn circles(&self) -> Vec<String> {
        let mut arrows = self.arrows();
        for (module, uses) in &mut arrows {
            uses.retain(|used, _| !used.starts_with(module) && !module.starts_with(used));
        }
        let reached: BTreeMap<_, _> = arrows.keys().map(|module| (*module, reach(&arrows, module))).collect();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for (module, reach) in &reached {
            if !reach.contains(module) || !seen.insert(*module) {
                continue;
            }
            let circle: BTreeSet<&[String]> =
                reach.iter().copied().filter(|other| reached[other].contains(module)).collect();
            seen.extend(&circle);
            let mut text = format!("a circle of {} files:", circle.len());
            for from in &circle {
                for (to, path) in arrows[from].iter().filter(|(to, _)| circle.contains(*to)) {
                    text += &format!("\n  {} -> {} ({path})", self.0[*from].path, self.0[*to].path);
                }
            }
            circles.push(text);
        }
        circles
    }

    /// The parents that use a file below them that uses them.
    fn knots(&self) -> Vec<&str> {
        let arrows = self.arrows();
        let is_knot = |module: &[String], uses: &BTreeMap<&[String], String>| {
            uses.keys().any(|used| used.starts_with(module) && arrows[used].contains_key(module))
        };
        let knots = arrows.iter().filter(|(module, uses)| is_knot(module, uses));
        knots.map(|(module, _)| self.0[*module].path.as_str()).collect()
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn joined(module: &[String], name: &str) -> Vec<String> {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// All files reachable by one arrow or more.
fn reach<'a>(
    arrows: &BTreeMap<&'a [String], BTreeMap<&'a [String], String>>,
    from: &'a [String],
) -> BTreeSet<&'a [String]> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for used in arrows[module].keys() {
            if reached.insert(*used) {
                open.push(used);
            }
        }
    }
    reached
}

/// The source files below a folder, without test files.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem.to_string_lossy().contains("tests")) {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The words and symbols of a source text, without comments, strings and characters; `::` is one symbol.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    flatten(text.parse().unwrap(), &mut tokens);
    tokens
}

fn flatten(stream: TokenStream, into: &mut Vec<String>) {
    let mut is_half_path = false;
    for tree in stream {
        let was_half_path = std::mem::take(&mut is_half_path);
        match tree {
            TokenTree::Group(group) => {
                let [open, close] = match group.delimiter() {
                    Delimiter::Parenthesis => ["(", ")"],
                    Delimiter::Brace => ["{", "}"],
                    Delimiter::Bracket => ["[", "]"],
                    Delimiter::None => ["", ""],
                };
                into.push(open.to_owned());
                flatten(group.stream(), into);
                into.push(close.to_owned());
            }
            TokenTree::Ident(word) => into.push(word.to_string()),
            TokenTree::Punct(sign) if sign.as_char() == ':' && was_half_path => into.push("::".to_owned()),
            TokenTree::Punct(sign) if sign.as_char() == ':' && sign.spacing() == Spacing::Joint => is_half_path = true,
            // The quote of a lifetime.
            TokenTree::Punct(sign) if sign.as_char() == '\'' => (),
            TokenTree::Punct(sign) => into.push(sign.as_char().to_string()),
            TokenTree::Literal(_) => (),
        }
    }
}

/// The tokens without items that only tests see.
fn product(tokens: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let ahead: Vec<&str> = tokens[index..].iter().take(7).map(String::as_str).collect();
        if ahead != ["#", "[", "cfg", "(", "test", ")", "]"] {
            kept.push(tokens[index].clone());
            index += 1;
            continue;
        }
        index += 7;
        let mut depth = 0_i32;
        while index < tokens.len() {
            let token = tokens[index].as_str();
            index += 1;
            match token {
                "{" | "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                ";" if depth == 0 => break,
                _ => (),
            }
        }
    }
    kept
}

fn is_word(token: &str) -> bool {
    token.chars().next().is_some_and(|sign| sign.is_alphabetic() || sign == '_')
}

fn read(path: String, text: &str) -> SourceFile {
    let tokens = &product(&tokens(text));
    let mut source = SourceFile { path, ..SourceFile::default() };
    let mut depth = 0_i32;
    let mut index = 0;
    let mut is_public = false;
    while index < tokens.len() {
        let token = tokens[index].as_str();
        let next = tokens.get(index + 1).map(String::as_str).unwrap_or_default();
        match token {
            "{" => depth += 1,
            "}" => depth -= 1,
            "use" => {
                index = read_use(tokens, index + 1, &[], is_public, &mut source.imports);
                is_public = false;
                continue;
            }
            "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union"
                if depth == 0 && is_word(next) =>
            {
                source.defined.insert(next.to_owned());
            }
            "mod" if depth == 0 && tokens.get(index + 2).is_some_and(|sign| sign == "{") => {
                source.defined.insert(next.to_owned());
            }
            "macro_rules" => {
                source.defined.insert(tokens[index + 2].clone());
            }
            _ if is_word(token) && next == "::" => {
                // `::redis::Client` belongs to another crate, even if a module has that name.
                let is_absolute = index > 0 && tokens[index - 1] == "::";
                let mut written = vec![token.to_owned()];
                index += 1;
                while tokens.get(index).is_some_and(|sign| sign == "::") && is_word(&tokens[index + 1]) {
                    written.push(tokens[index + 1].clone());
                    index += 2;
                }
                // `pub(in crate::store)` is a visibility and uses nothing.
                let is_visibility = is_public && written[0] == "crate";
                if written.len() > 1 && !is_absolute && !is_visibility {
                    source.paths.push(written);
                }
                continue;
            }
            _ => (),
        }
        is_public = token == "pub" || (is_public && matches!(token, "(" | ")" | "in" | "crate" | "super" | "self"));
        index += 1;
    }
    source
}

/// Reads a tree of a `use` line; returns the position after it.
fn read_use(tokens: &[String], from: usize, before: &[String], is_public: bool, into: &mut Vec<Import>) -> usize {
    let mut index = from;
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(index) {
        match token.as_str() {
            "::" => {
                if path.is_empty() {
                    path.push("::".to_owned()); // of another crate, whatever module has that name
                }
                index += 1;
            }
            "{" => {
                index += 1;
                while tokens[index] != "}" {
                    index = read_use(tokens, index, &path, is_public, into);
                    if tokens[index] == "," {
                        index += 1;
                    }
                }
                return index + 1;
            }
            "as" => {
                let name = tokens[index + 1].clone();
                into.push(Import { path, name, is_public });
                return index + 2;
            }
            "self" if !path.is_empty() => {
                index += 1;
            }
            "*" => {
                path.push("*".to_owned());
                into.push(Import { path, name: "*".to_owned(), is_public });
                return index + 1;
            }
            word if is_word(word) => {
                path.push(word.to_owned());
                index += 1;
            }
            _ => break,
        }
    }
    if let Some(name) = path.last().cloned() {
        into.push(Import { path, name, is_public });
    }
    index
}

/// A crate made of these files: module name and text.
fn made_of(files: &[(&str, &str)]) -> Crate {
    let module = |name: &str| name.split('/').filter(|part| *part != "lib").map(str::to_owned).collect();
    Crate(files.iter().map(|(name, text)| (module(name), read((*name).to_owned(), text))).collect())
}

#[test]
fn a_circle_is_seen_however_its_names_are_written() {
    let second = |text| {
        let files = [("lib", "mod a; mod b;"), ("a", "pub use part::Part; mod part;"), ("a/part", "pub struct Part;")];
        let others = [("b", "use crate::a::Part; pub fn work(_: Part) {}"), ("a/part", text)];
        made_of(&[files.as_slice(), &others].concat()).circles().len()
    };

    for text in [
        "use crate::b::work; pub struct Part;",
        "use super::super::b::{self as other}; pub struct Part; fn f() { other::work(Part) }",
        "use crate::{b::*}; pub struct Part;",
        "pub struct Part; fn f() { print!(\"{:?}\", crate::b::work(Part)) }",
    ] {
        assert_eq!(second(text), 1, "{text}");
    }
    for text in [
        "pub struct Part; // use crate::b::work;",
        "pub struct Part; const TEXT: &str = \"crate::b::work\";",
        "use ::b::work; pub struct Part;",
        "pub(in crate::b) struct Part;",
        "pub struct Part; #[cfg(test)] mod tests { use crate::b::work; }",
    ] {
        assert_eq!(second(text), 0, "{text}");
    }
}

/// Shows: CODE-1
#[test]
fn no_files_use_each_other_in_a_circle() {
    let circles: Vec<String> = CRATES.iter().flat_map(|(folder, ..)| Crate::read(folder).circles()).collect();

    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn parents_that_use_and_are_used_by_their_children_become_no_more() {
    let crates = CRATES.map(|(folder, ..)| Crate::read(folder));
    let knots: Vec<&str> = crates.iter().flat_map(Crate::knots).collect();

    assert_eq!(knots, KNOTS);
}

/// The dependencies of a crate, without those for tests.
fn dependencies(folder: &str) -> (String, Vec<String>) {
    let text = fs::read_to_string(top().join(folder).join("Cargo.toml")).unwrap();
    let name = text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"').to_owned();
    let (_, listed) = text.split_once("\n[dependencies]\n").unwrap();
    let listed = listed.split("\n[").next().unwrap();
    let names = listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    (name, names.filter_map(|line| line.split(['.', ' ', '=']).next()).map(str::to_owned).collect())
}

/// Shows: INVARIANT-16, PROMISE-4, CODE-2
#[test]
fn every_crate_depends_only_on_those_below_it() {
    let workspace = fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let (_, members) = workspace.split_once("members = [").unwrap();
    let members = members.split(']').next().unwrap().matches('"').count() / 2;
    for (place, (folder, name, below)) in CRATES.iter().enumerate() {
        let (called, listed) = dependencies(folder);
        assert_eq!(called, *name, "{folder}");
        let ours: Vec<&str> = listed
            .iter()
            .filter_map(|name| CRATES.iter().find(|known| known.1 == *name))
            .map(|known| known.1)
            .collect();
        assert_eq!(ours, *below, "{name} depends on these");
        for other in *below {
            assert!(CRATES[..place].iter().any(|known| known.1 == *other), "{other} stands above {name}");
        }
    }
    assert_eq!(members, CRATES.len());
}

/// Shows: INVARIANT-16, PROMISE-4, CODE-3
#[test]
fn what_reaches_outside_stands_in_one_crate() {
    for (folder, name, _) in CRATES {
        let (_, listed) = dependencies(folder);
        for (door, may) in DOORS {
            // The sandbox is the other side of the connection.
            let is_allowed = may.contains(&name) || name == "sandbox";
            assert!(is_allowed || !listed.iter().any(|known| known == door), "{name} depends on {door}");
        }
    }
}
