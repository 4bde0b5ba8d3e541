//! The parts of documents that are made from the definitions: the page of settings, and the settings in compose.yaml.

use std::collections::BTreeSet;

use documents::{between, code, part, table, text};

use super::*;

/// The readers of settings, in the words of the page.
const READERS: [(Role, &str); 6] = [
    (Role::Up, "up"),
    (Role::Api, "api"),
    (Role::Worker, "worker"),
    (Role::Sandbox, "sandbox"),
    (Role::Migrate, "migrate"),
    (Role::Operator, "commands"),
];

#[test]
fn the_reference_lists_every_setting_with_its_default_its_readers_and_its_meaning() {
    let rows = CONTRACT.definitions().into_iter().map(|definition| {
        let readers: Vec<&str> =
            READERS.iter().filter(|(role, _)| reads(*role, definition.name)).map(|(_, reader)| *reader).collect();
        // It is read before there is a role.
        let readers = if readers.is_empty() { "all".to_owned() } else { readers.join(", ") };
        let name = match definition.is_secret {
            true => format!("`{0}` or `{0}_FILE`", definition.name),
            false => code(definition.name),
        };
        [name, definition.shown_default(), readers, definition.meaning()]
    });

    part("docs/reference/settings.md", "settings", &table(["variable", "default", "read by", "meaning"], rows));
}

#[test]
fn the_page_of_shops_lists_every_key_of_the_file() {
    let keys = |definitions: Vec<&'static ::config::Definition>| {
        definitions.iter().map(|definition| code(::config::key_of(definition.name))).collect::<Vec<_>>().join(", ")
    };
    let accounts = PaymentType::ALL.iter().map(|payment_type| {
        let keys = keys(super::super::file::of_account(*payment_type));
        [
            format!("`[shops.NAME.{payment_type}]`"),
            if keys.is_empty() { "not in this release".to_owned() } else { keys },
        ]
    });
    let rows = [["`[shops.NAME]`".to_owned(), keys(super::super::file::of_shop())]].into_iter().chain(accounts);

    part("docs/run/shops.md", "keys of shops", &table(["table", "keys"], rows));
}

#[test]
fn the_reference_says_that_nothing_starts_without_a_key_that_signs_callbacks() {
    let rows = UNSIGNED.map(|(case, _)| [case.to_owned(), "the process does not start".to_owned()]);

    part("docs/internals/callback-decisions.md", "settings-of-callbacks", &table(["case", "what happens"], rows));
}

/// A setting that was renamed or has gone must go from the documents, too.
#[test]
fn documents_name_no_setting_that_there_is_not() {
    let mut files: Vec<String> =
        ["deploy/.env.example", "deploy/compose.yaml", "deploy/Dockerfile"].map(str::to_owned).to_vec();
    files.extend(documents::pages());
    for file in files {
        let text = text(&file);
        let words = text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        // `ATMOS_` alone stands for all that begin so, and the tests have variables of their own.
        let names = words.filter(|word| {
            let is_ours = ["TASDIQ_", "ATMOS_", "PAYME_", "CLICK_"].iter().any(|ours| word.starts_with(ours));
            is_ours && !word.ends_with('_') && !word.starts_with("TASDIQ_TEST_") && *word != documents::UPDATE
        });

        let unknown: Vec<&str> = names.filter(|name| CONTRACT.known(name).is_none()).collect();

        assert_eq!(unknown, [""; 0], "settings that no code reads: correct {file}");
    }
}

/// Of a setting that two components read.
#[test]
fn a_variable_has_one_meaning_and_one_default() {
    for definition in CONTRACT.0.iter().copied().flatten() {
        let first = CONTRACT.definitions().into_iter().find(|first| first.name == definition.name);

        assert_eq!(Some(definition), first);
    }
}

/// The settings of the parts embedded in `up`, and of the sandbox. Where each runs in a container of its own, the image says
/// where its files are, and the compose file where the sandbox listens.
const OF_EMBEDDED_PARTS: [&str; 2] = ["TASDIQ_DATA_DIR", "TASDIQ_SANDBOX_LISTEN"];

/// The settings that these roles read and the compose file does not set itself.
fn handed_on(roles: &[Role], environment: &str) -> Vec<&'static str> {
    let lines = environment.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let has_value: BTreeSet<&str> = lines.filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    let read = CONTRACT.definitions().into_iter().map(|definition| definition.name);
    let is_read = |name: &&str| roles.iter().any(|role| reads(*role, name));
    read.filter(is_read).filter(|name| !has_value.contains(name) && !OF_EMBEDDED_PARTS.contains(name)).collect()
}

#[test]
fn compose_hands_on_every_setting_of_the_processes_it_starts() {
    let compose = text("deploy/compose.yaml");
    let environment = compose.split("x-environment: &environment\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let expected: String =
        handed_on(&[Role::Api, Role::Worker], environment).iter().map(|name| format!("  {name}:\n")).collect();

    between("deploy/compose.yaml", "are set outside.\n", "\n\n", expected.trim_end());

    let environment = compose.split("    environment:\n      TASDIQ_SANDBOX_LISTEN: ").nth(1).unwrap();
    let environment = environment.split("    ports:").next().unwrap();
    let expected: String =
        handed_on(&[Role::Sandbox], environment).iter().map(|name| format!("      {name}:\n")).collect();

    between("deploy/compose.yaml", "as above.\n", "    # Its page is", &expected);
}
