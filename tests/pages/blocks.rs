//! The commands of a page, as its blocks of code have them. CONTRIBUTING.md tells authors how to write them.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The processes that run before the first command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// `tasdiq up`, with a data directory of its own.
    Up,
    /// A fresh database and Redis, and nothing of ours.
    Servers,
    /// Nothing.
    Nothing,
}

impl Setting {
    fn parse(text: &str) -> Setting {
        match text {
            "up" => Setting::Up,
            "servers" => Setting::Servers,
            "nothing" => Setting::Nothing,
            other => panic!("`<!-- run: {other} -->`: it is up, servers or nothing"),
        }
    }
}

/// Why a block is not run.
const REASONS: [&str; 9] = [
    "installs-packages",
    "needs-root",
    "needs-docker",
    "needs-systemd",
    "needs-another-machine",
    "calls-atmos",
    "takes-long",
    "changes-the-checkout",
    "for-a-person",
];

/// How a block is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is run, and ends with this code.
    Ends(i32),
    /// It starts a process that goes on; it is there once these ports take connections.
    Starts(Vec<u16>),
    /// It is not run, for this reason.
    NotRun(String),
}

impl Way {
    /// From what follows `sh` behind the opening marks of a block.
    fn parse(words: &str) -> Way {
        match words.split_once('=') {
            None if words.is_empty() => Way::Ends(0),
            Some(("exit", code)) => Way::Ends(code.parse().unwrap()),
            Some(("starts", ports)) => Way::Starts(ports.split(',').map(|port| port.parse().unwrap()).collect()),
            Some(("not-run", reason)) if REASONS.contains(&reason) => Way::NotRun(reason.to_owned()),
            _ => panic!("```sh,{words}: it is exit=CODE, starts=PORTS, or not-run= with one of {REASONS:?}"),
        }
    }
}

/// A block of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The line of its first command.
    pub(super) line: usize,
    pub(super) commands: String,
    pub(super) way: Way,
    /// The JSON that is shown as its answer.
    pub(super) answer: Option<String>,
}

/// Blocks that are typed in one shell, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) page: String,
    pub(super) setting: Setting,
    pub(super) blocks: Vec<Block>,
}

/// The sessions of a page: one, or one for each `<!-- run: … -->`.
pub(super) fn sessions(page: &str, text: &str) -> Vec<Session> {
    let session = |setting| Session { page: page.to_owned(), setting, blocks: Vec::new() };
    let mut sessions = vec![session(Setting::Up)];
    let mut within: Option<(String, usize)> = None;
    let mut code = String::new();
    for (event, range) in Parser::new_ext(text, Options::all()).into_offset_iter() {
        match event {
            Event::Html(html) | Event::InlineHtml(html) => {
                let said = html.trim().strip_prefix("<!-- run: ").and_then(|rest| rest.strip_suffix(" -->"));
                if let Some(setting) = said {
                    sessions.push(session(Setting::parse(setting)));
                }
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(words))) => {
                let line = text[..range.start].lines().count() + 2;
                within = Some((words.to_string(), line));
                code.clear();
            }
            Event::Text(part) if within.is_some() => code.push_str(&part),
            Event::End(TagEnd::CodeBlock) => {
                let Some((words, line)) = within.take() else { continue };
                let blocks = &mut sessions.last_mut().expect("one at least").blocks;
                match words.split_once(',').unwrap_or((&words, "")) {
                    ("sh", words) => {
                        blocks.push(Block { line, commands: code.clone(), way: Way::parse(words), answer: None });
                    }
                    ("json", "") => {
                        if let Some(last) = blocks.last_mut().filter(|last| last.answer.is_none()) {
                            last.answer = Some(code.clone());
                        }
                    }
                    _ => (),
                }
            }
            _ => (),
        }
    }
    sessions.retain(|session| !session.blocks.is_empty());
    sessions
}

/// The commands with other ports: each number that stands alone and is one of the first, by the second.
pub(super) fn with_ports(commands: &str, ports: &[(u16, u16)]) -> String {
    let is_of_a_word = |sign: char| sign.is_alphanumeric() || sign == '_';
    let (mut replaced, mut rest) = (String::new(), commands);
    while let Some(start) = rest.find(|sign: char| sign.is_ascii_digit()) {
        let end = rest[start..].find(|sign: char| !sign.is_ascii_digit()).map_or(rest.len(), |length| start + length);
        let before = rest[..start].chars().next_back().or(replaced.chars().next_back());
        let stands_alone =
            !before.is_some_and(|sign| is_of_a_word(sign) || sign == '.') && !rest[end..].starts_with(is_of_a_word);
        let port = ports.iter().find(|(port, _)| stands_alone && port.to_string() == rest[start..end]);
        replaced.push_str(&rest[..start]);
        replaced.push_str(&port.map_or_else(|| rest[start..end].to_owned(), |(_, port)| port.to_string()));
        rest = &rest[end..];
    }
    replaced + rest
}

/// The commands with another address for each that begins so.
pub(super) fn with_address(commands: &str, scheme: &str, address: &str) -> String {
    let mut parts = commands.split(scheme);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|sign: char| sign.is_whitespace() || "\"'`;)".contains(sign)).unwrap_or(part.len());
        replaced.push_str(address);
        replaced.push_str(&part[end..]);
    }
    replaced
}

#[test]
fn a_page_is_read_as_its_reader_types_it() {
    let text = "# Page\n\n```sh,starts=8000,8100\ncargo run\n```\n\n```text\nshown\n```\n\n```sh\ncurl x\n```\n\nThen:\n\n\
                ```json\n{}\n```\n\n```json\n[]\n```\n\n<!-- run: nothing -->\n\n```sh,exit=1\nfalse\n```\n\n\
                ```sh,not-run=needs-root\nreboot\n```\n";

    let [first, second] = &sessions("p.md", text)[..] else { panic!("two sessions") };

    assert_eq!((first.setting, second.setting), (Setting::Up, Setting::Nothing));
    assert_eq!(first.blocks[0].way, Way::Starts(vec![8000, 8100]));
    assert_eq!((first.blocks[0].line, first.blocks[0].commands.as_str()), (4, "cargo run\n"));
    assert_eq!((first.blocks[1].way.clone(), first.blocks[1].answer.as_deref()), (Way::Ends(0), Some("{}\n")));
    assert_eq!(second.blocks[0].way, Way::Ends(1));
    assert_eq!(second.blocks[1].way, Way::NotRun("needs-root".to_owned()));
}

#[test]
#[should_panic(expected = "not-run= with one of")]
fn a_block_is_not_left_out_without_a_reason() {
    sessions("p.md", "```sh,not-run=later\nx\n```\n");
}

#[test]
fn ports_and_servers_are_those_of_the_test() {
    let ports = [(8000, 1), (8100, 2)];

    assert_eq!(
        with_ports("http://127.0.0.1:8000/a 8100 18000 8000a a8000 0.8000", &ports),
        "http://127.0.0.1:1/a 2 18000 8000a a8000 0.8000"
    );
    assert_eq!(with_address("A=redis://h:1 B='redis://x' redis", "redis://", "R"), "A=R B='R' redis");
}
