//! The page of the command line, and the examples of each command.

use clap::CommandFactory;
use documents::part;

use super::*;

/// The commands that help shows, each by its words; the program itself first.
fn commands() -> Vec<clap::Command> {
    fn collect(command: &clap::Command, into: &mut Vec<clap::Command>) {
        into.push(command.clone());
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
        shown.for_each(|command| collect(command, into));
    }
    let mut program = Arguments::command().term_width(WIDTH);
    program.build();
    let mut commands = Vec::new();
    collect(&program, &mut commands);
    commands
}

fn name(command: &clap::Command) -> String {
    command.get_bin_name().unwrap_or(command.get_name()).to_owned()
}

fn help(command: &clap::Command) -> String {
    let lines: Vec<String> =
        command.clone().render_long_help().to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[test]
fn the_page_of_the_command_line_has_the_help_of_every_command() {
    let commands = commands();
    assert!(commands.len() > 15, "{} commands", commands.len());
    let sections = commands.iter().map(|command| format!("## {}\n\n```text\n{}\n```\n", name(command), help(command)));

    part("docs/reference/command-line.md", "command-line", &sections.collect::<Vec<_>>().join("\n"));
}

/// Without a terminal, and in a wide one.
#[test]
fn no_line_of_a_help_is_too_long_to_be_read() {
    for command in commands() {
        for line in help(&command).lines() {
            assert!(line.chars().count() <= WIDTH, "{}: {line}", name(&command));
        }
    }
}

#[test]
fn each_command_has_an_example_and_each_example_can_be_typed() {
    for command in commands() {
        let does_something = !command.is_subcommand_required_set();
        let below = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
        let below = below.unwrap_or_default();
        let examples: Vec<&str> = below.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        let examples: Vec<&str> = examples.into_iter().filter(|line| line.starts_with("tasdiq")).collect();

        assert_eq!(does_something, !examples.is_empty(), "{} has {examples:?}", name(&command));
        for example in examples {
            let words = shlex::split(example).unwrap();
            if words.iter().any(|word| word == "help") {
                continue; // clap answers it before anything is parsed
            }
            Arguments::try_parse_from(words).unwrap_or_else(|fault| panic!("{example}: {fault}"));
            assert!(example.starts_with(&name(&command)), "{example} stands with {}", name(&command));
        }
    }
}
