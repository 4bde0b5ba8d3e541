//! A type name stands for one thing in the whole workspace, so that a search for it finds one thing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};

use super::{collect, parsed};

/// Names that several private types may share, with the reason.
const SHARED: [(&str, &str); 1] = [("Inner", "by convention the part of a type behind its `Arc`")];

/// Names of types in one file, each with whether it is public; types in functions and macros included. The associated
/// types of a trait are left out: their name is the trait's.
#[derive(Default)]
struct TypeNames(Vec<(String, bool)>);

impl TypeNames {
    fn add(&mut self, name: &syn::Ident, visibility: &syn::Visibility) {
        self.0.push((name.to_string(), !matches!(visibility, syn::Visibility::Inherited)));
    }
}

impl<'ast> Visit<'ast> for TypeNames {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident, &item.vis);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident, &item.vis);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident, &item.vis);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.ident, &item.vis);
        visit::visit_item_type(self, item);
    }

    /// `named_values! { Name { … } }`, and `struct Name` or `enum Name` within a macro.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let text = call.tokens.to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2) {
            if matches!(pair[0], "struct" | "enum" | "trait") {
                let name: String = pair[1].chars().take_while(|sign| sign.is_alphanumeric()).collect();
                if name.starts_with(char::is_uppercase) {
                    self.0.push((name, true));
                }
            }
        }
        if call.path.segments.last().is_some_and(|name| name.ident == "named_values") {
            let is_type = |pair: &&[&str]| pair[0].starts_with(char::is_uppercase) && pair[1] == "{";
            self.0.extend(words.windows(2).find(is_type).map(|pair| (pair[0].to_owned(), true)));
        }
    }
}

/// The product's sources, and those of the sandbox.
fn files() -> Vec<(String, syn::File)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sandbox = Vec::new();
    collect(&top.join("sandbox/src"), &mut sandbox);
    let parse = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        let named = path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
        (named, syn::parse_file(&product).unwrap())
    };
    let sandbox = sandbox.into_iter().filter(|path| !path.ends_with("tests.rs")).map(parse);
    parsed().into_iter().chain(sandbox).collect()
}

#[test]
fn no_type_name_is_used_for_two_things() {
    let mut by_name: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for (path, file) in files() {
        let mut names = TypeNames::default();
        names.visit_file(&file);
        for (name, is_public) in names.0 {
            by_name.entry(name).or_default().push((path.clone(), is_public));
        }
    }
    assert!(by_name.len() > 500, "{} types", by_name.len());
    for (name, reason) in SHARED {
        let types = by_name.remove(name).unwrap_or_default();
        assert!(types.len() > 1, "{name} needs no exception any more: {reason}");
        assert!(types.iter().all(|(_, is_public)| !is_public), "{name} is public somewhere: {types:?}");
    }

    let twice: Vec<String> = by_name
        .iter()
        .filter(|(_, types)| types.len() > 1)
        .map(|(name, types)| {
            let paths: Vec<&str> = types.iter().map(|(path, _)| path.as_str()).collect();
            format!("{name}: {}", paths.join(", "))
        })
        .collect();

    assert_eq!(twice, [""; 0]);
}
