//! Every link of every page leads somewhere: to a file that is there, and to a heading that it has. Addresses of the web are
//! not called. A page may include another file (`{{#include ../CONTRIBUTING.md}}`); what it includes is read as a part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use documents::{pages, text, top};
use pulldown_cmark::{BrokenLink, Event, LinkType, Options, Parser, Tag, TagEnd};

/// The anchors and the links of a page.
#[derive(Debug, Default)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
    /// References, such as `[text][name]`, whose name is not defined.
    undefined: Vec<String>,
}

impl Page {
    fn read(text: &str) -> Page {
        let mut page = Page::default();
        let mut undefined = Vec::new();
        let callback = |link: BrokenLink<'_>| {
            if matches!(link.link_type, LinkType::Reference | LinkType::Collapsed) {
                undefined.push(link.reference.to_string());
            }
            None
        };
        let mut heading: Option<String> = None;
        let parser = Parser::new_with_broken_link_callback(text, Options::all(), Some(callback));
        for event in parser {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.to_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(words) | Event::Code(words) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                }
                Event::End(TagEnd::Heading(_)) => page.add_anchor(&heading.take().unwrap_or_default()),
                _ => (),
            }
        }
        page.undefined = undefined;
        page
    }

    /// As mdBook and code hosts name a heading; the second of a name has `-1` behind it.
    fn add_anchor(&mut self, heading: &str) {
        let signs = heading.trim().chars().filter_map(|sign| match sign {
            _ if sign.is_alphanumeric() || sign == '_' || sign == '-' => Some(sign.to_lowercase().to_string()),
            _ if sign.is_whitespace() => Some("-".to_owned()),
            _ => None,
        });
        let anchor: String = signs.collect();
        let mut numbered = anchor.clone();
        let mut number = 0;
        while !self.anchors.insert(numbered) {
            number += 1;
            numbered = format!("{anchor}-{number}");
        }
    }
}

/// What `page` includes: a file, or the lines of one between `ANCHOR: name` and `ANCHOR_END: name`.
fn excerpt(page: &str, included: &str) -> String {
    let (file, anchor) = included.split_once(':').map_or((included, None), |(file, anchor)| (file, Some(anchor)));
    let whole = text(&target(page, file).unwrap_or_else(|| panic!("{page} includes {included}")));
    let Some(anchor) = anchor else { return whole };
    let after = whole.split(&format!("<!-- ANCHOR: {anchor} -->")).nth(1);
    let within = after.and_then(|after| after.split(&format!("<!-- ANCHOR_END: {anchor} -->")).next());
    within.unwrap_or_else(|| panic!("{page} includes {included}")).to_owned()
}

/// A page with the files that it includes, as mdBook puts them together.
fn assembled(page: &str) -> String {
    let lines = text(page);
    let lines = lines.lines().map(|line| {
        let included = line.strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}"));
        included.map_or_else(|| line.to_owned(), |included| excerpt(page, included))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The path that a link leads to, from the top folder; nothing where it leaves that.
fn target(page: &str, link: &str) -> Option<String> {
    let mut path = PathBuf::from(page);
    path.pop();
    for part in Path::new(link).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => (),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path.to_string_lossy().into_owned())
}

fn is_of_the_web(link: &str) -> bool {
    ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
}

/// The fault of a link, if it has one.
fn fault(pages: &BTreeMap<String, Page>, page: &str, link: &str) -> Option<&'static str> {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = match path {
        "" => page.to_owned(),
        path => match target(page, path) {
            Some(target) => target,
            None => return Some("leads out of the repository"),
        },
    };
    if !top().join(&target).exists() {
        return Some("leads to no file");
    }
    if page.starts_with("docs/") && !target.starts_with("docs/") {
        return Some("leads out of the book: it is dead where the book is built");
    }
    let anchor = anchor?;
    let is_there = pages.get(&target).is_some_and(|target| target.anchors.contains(anchor));
    (!is_there).then_some("leads to no heading")
}

#[test]
fn every_link_leads_somewhere() {
    let pages: BTreeMap<String, Page> =
        pages().into_iter().map(|page| (page.clone(), Page::read(&assembled(&page)))).collect();
    let mut faults = Vec::new();
    let (mut checked, mut of_the_web) = (0, 0);
    for (name, page) in &pages {
        faults.extend(page.undefined.iter().map(|link| format!("{name}: [{link}] is not defined")));
        for link in &page.links {
            if is_of_the_web(link) {
                of_the_web += 1;
                continue;
            }
            checked += 1;
            faults.extend(fault(&pages, name, link).map(|what| format!("{name}: {link} {what}")));
        }
    }
    println!("{checked} links in {} pages lead somewhere; {of_the_web} lead into the web", pages.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 10, "{checked} links");
}

/// A page that is not listed is not in the book.
#[test]
fn every_page_of_the_book_is_listed_once() {
    let listed = Page::read(&text("docs/SUMMARY.md")).links;
    let mut listed: Vec<String> = listed.iter().map(|page| format!("docs/{page}")).collect();
    listed.sort();
    let there: Vec<String> =
        pages().into_iter().filter(|page| page.starts_with("docs/") && page != "docs/SUMMARY.md").collect();
    let without = |pages: &[String], others: &[String]| -> Vec<String> {
        pages.iter().filter(|page| !others.contains(page)).cloned().collect()
    };

    assert_eq!(without(&there, &listed), [""; 0], "pages that docs/SUMMARY.md does not list; list each under its part");
    assert_eq!(without(&listed, &there), [""; 0], "pages that docs/SUMMARY.md lists, and that are not there");
    assert_eq!(listed, there, "a page that docs/SUMMARY.md lists twice");
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let page = |text: &str| Page::read(text);
    let pages = BTreeMap::from([
        ("README.md".to_owned(), page("# One\n\n## `Two` words, twice\n\n## Two words, twice\n")),
        ("docs/index.md".to_owned(), page("# Tasdiq\n")),
    ]);
    let fault = |from: &str, link: &str| fault(&pages, from, link);

    for (from, link) in [
        ("README.md", "#one"),
        ("README.md", "#two-words-twice"),
        ("README.md", "#two-words-twice-1"),
        ("README.md", "docs/index.md#tasdiq"),
        ("README.md", "deploy"),
        ("docs/index.md", "index.md"),
    ] {
        assert_eq!(fault(from, link), None, "{link}");
    }
    assert_eq!(fault("README.md", "#three"), Some("leads to no heading"));
    assert_eq!(fault("README.md", "docs/none.md"), Some("leads to no file"));
    assert_eq!(fault("README.md", "../x.md"), Some("leads out of the repository"));
    assert!(fault("docs/index.md", "../README.md").unwrap().starts_with("leads out of the book"));
    assert_eq!(page("see [this][that] and [none]").undefined, ["that"]);
}
