//! Every command of every page is run, as a reader types it: from top to bottom, in one shell.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use documents::{pages, text, top};
use futures_util::StreamExt;

use super::answers::fits;
use super::blocks::{Block, Session, Setting, Way, sessions, with_address, with_ports};
use crate::support::ports::free_port;
use crate::support::process::{ChildProcess, send};
use crate::support::program::Program;
use crate::support::servers::{fresh_database, redis_url};

/// The ports that pages name.
const PORTS: [u16; 7] = [8_000, 8_001, 8_002, 8_003, 8_100, 9_000, 9_001];

/// A session that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(90);

/// Sessions at once.
const AT_ONCE: usize = 3;

/// The beginning of a session's script.
const BEFORE: &str = r#"
set -euo pipefail
await_port() { # await_port <port> <process>
    for _ in {1..600}; do
        if (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return 0; fi
        if ! kill -0 "$2" 2>/dev/null; then echo "it ended before port $1 was open" >&2; return 1; fi
        sleep 0.1
    done
    echo "port $1 is not open after a minute" >&2
    return 1
}
"#;

/// `cargo` of a reader who has built the program.
const CARGO: &str = r#"#!/usr/bin/env bash
case ${1:-} in
    run) shift; while [[ ${1:-} == --release || ${1:-} == --quiet ]]; do shift; done
         if [[ ${1:-} == -- ]]; then shift; fi
         exec tasdiq "$@" ;;
    build) ;;
    *) echo "cargo $* is not part of this test" >&2; exit 64 ;;
esac
"#;

/// A folder like a checkout, with the built program in it, and the programs that the commands find.
struct Checkout {
    folder: tempfile::TempDir,
}

impl Checkout {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("page.").tempdir().unwrap();
        for made in ["home", "bin", "tasdiq/target/debug", "tasdiq/target/release"] {
            fs::create_dir_all(folder.path().join(made)).unwrap();
        }
        for entry in fs::read_dir(top()).unwrap() {
            let name = entry.unwrap().file_name();
            if name != "target" && name != ".git" && name != ".env" && name != "tasdiq-data" {
                symlink(top().join(&name), folder.path().join("tasdiq").join(&name)).unwrap();
            }
        }
        for program in ["bin/tasdiq", "tasdiq/target/debug/tasdiq", "tasdiq/target/release/tasdiq"] {
            symlink(Program::FILE, folder.path().join(program)).unwrap();
        }
        let cargo = folder.path().join("bin/cargo");
        fs::write(&cargo, CARGO).unwrap();
        fs::set_permissions(&cargo, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Checkout { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read(self.path(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

/// A block as the session's shell runs it: its outputs go to files of their own.
fn script(place: usize, block: &Block, commands: &str, ports: &[(u16, u16)], folder: &Path) -> String {
    let file = |name: &str| folder.join(format!("{place}.{name}")).display().to_string();
    let (out, err, done) = (file("out"), file("err"), file("done"));
    let end = format!("echo >'{done}'\n");
    match &block.way {
        Way::NotRun(_) => String::new(),
        Way::Ends(0) => format!("exec >'{out}' 2>'{err}'\n{commands}\n{end}"),
        Way::Ends(code) => {
            format!(
                "exec >'{out}' 2>'{err}'\nset +e\n(set -e\n{commands}\n)\n[[ $? == {code} ]] || exit 1\nset -e\n{end}"
            )
        }
        Way::Starts(opened) => {
            let opened = opened.iter().map(|port| {
                let port = ports.iter().find(|(known, _)| known == port).expect("a port that pages name").1;
                format!("await_port {port} $!\n")
            });
            let awaited: String = opened.collect();
            format!("exec >'{out}' 2>'{err}'\n(\n{commands}\n) &\n{awaited}{end}")
        }
    }
}

/// Kills all processes that a session has started, also when the test fails.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = Command::new("bash").args(["-c", r#"kill -s KILL -- "-$0""#, &self.0.to_string()]).output();
        send("KILL", &[self.0]);
    }
}

/// Runs a session; tells how many of its blocks ran.
async fn run(session: &Session) -> Result<usize, String> {
    let checkout = Checkout::new();
    let ports = PORTS.map(|port| (port, free_port()));
    let listens = |port: u16| format!("127.0.0.1:{}", with_ports(&port.to_string(), &ports));
    let mut environment = vec![
        ("HOME", checkout.path("home").display().to_string()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PATH", format!("{}:{}", checkout.path("bin").display(), std::env::var("PATH").unwrap())),
        ("TASDIQ_LISTEN", listens(8_000)),
        ("TASDIQ_WORKER_LISTEN", listens(8_001)),
        ("TASDIQ_SANDBOX_LISTEN", listens(8_100)),
    ];
    let servers = match session.setting {
        Setting::Servers => Some((fresh_database().await, redis_url())),
        Setting::Up | Setting::Nothing => None,
    };
    if let Some((database, redis)) = &servers {
        environment.extend([("DATABASE_URL", database.clone()), ("REDIS_URL", redis.clone())]);
    }
    let mut text = format!("{BEFORE}cd '{}'\n", checkout.path("tasdiq").display());
    if session.setting == Setting::Up {
        // Its port is open before its database is ready.
        let (out, address) = (checkout.path("up.out").display().to_string(), listens(8_000));
        text.push_str(&format!(
            "tasdiq >'{out}' 2>&1 &\nuntil curl -sf http://{address}/readyz >/dev/null; do kill -0 $!; sleep 0.1; done\n"
        ));
    }
    for (place, block) in session.blocks.iter().enumerate() {
        let mut commands = with_ports(&block.commands, &ports);
        if let Some((database, redis)) = &servers {
            commands = with_address(&with_address(&commands, "postgres://", database), "redis://", redis);
        }
        text.push_str(&script(place, block, &commands, &ports, checkout.folder.path()));
    }
    fs::write(checkout.path("script"), text).unwrap();

    let mut shell = Command::new("bash");
    shell.arg("--norc").arg(checkout.path("script")).env_clear().envs(environment).process_group(0);
    let mut shell = ChildProcess::start(&session.page, &mut shell, &checkout.path("shell.out"));
    let _group = Group(shell.id());
    let ended = tokio::time::timeout(DEADLINE, shell.wait_exit(2 * DEADLINE)).await;

    for (place, block) in session.blocks.iter().enumerate().filter(|(_, block)| !matches!(block.way, Way::NotRun(_))) {
        let (out, err) = (checkout.read(&format!("{place}.out")), checkout.read(&format!("{place}.err")));
        let told = |what: &str| {
            format!("{}:{} {what}\n{}---- out\n{out}\n---- err\n{err}", session.page, block.line, block.commands)
        };
        if !checkout.path(&format!("{place}.done")).exists() {
            let before = if place == 0 { checkout.read("up.out") + &checkout.read("shell.out") } else { String::new() };
            return Err(told(if ended.is_ok() { "fails" } else { "hangs" }) + &before);
        }
        if let Some(shown) = &block.answer {
            fits(shown, &out).map_err(|what| told(&format!("answers otherwise: {what}")))?;
        }
    }
    Ok(session.blocks.iter().filter(|block| !matches!(block.way, Way::NotRun(_))).count())
}

/// Runs these sessions; tells how many blocks ran, and the faults.
async fn run_all(sessions: Vec<Session>) -> (usize, Vec<String>) {
    let runs = sessions.into_iter().map(async |session: Session| run(&session).await);
    let ended: Vec<Result<usize, String>> = futures_util::stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    let ran = ended.iter().filter_map(|ended| ended.as_ref().ok()).sum();
    (ran, ended.into_iter().filter_map(Result::err).collect())
}

#[tokio::test]
async fn every_command_of_every_page_can_be_typed() {
    let sessions: Vec<Session> = pages().into_iter().flat_map(|page| sessions(&page, &text(&page))).collect();
    let mut not_run: Vec<String> = Vec::new();
    for session in &sessions {
        for block in &session.blocks {
            if let Way::NotRun(reason) = &block.way {
                not_run.push(format!("{}:{} {reason}", session.page, block.line));
            }
        }
    }

    let (ran, faults) = run_all(sessions).await;

    println!("{ran} blocks of commands ran; {} did not:\n{}", not_run.len(), not_run.join("\n"));
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    assert!(ran > 10, "{ran} blocks");
}

/// The test above fails for a wrong page.
#[tokio::test]
async fn a_command_that_fails_and_an_answer_that_differs_are_seen() {
    let page = |text: &str| run_all(sessions("p.md", &format!("<!-- run: nothing -->\n\n{text}")));

    let (ran, faults) = page(
        "```sh\nname=value\n```\n\n```sh\necho \"{\\\"a\\\":\\\"$name\\\"}\"\n```\n\n```json\n{\"a\":\"x\"}\n```\n",
    )
    .await;
    assert_eq!((ran, faults), (2, vec![]));

    for (text, part) in [
        ("```sh\ntrue\n```\n\n```sh\nfalse\ntrue\n```\n", "p.md:8 fails"),
        ("```sh,exit=3\nexit 2\n```\n", "p.md:4 fails"),
        ("```sh\necho '{\"a\":1}'\n```\n\n```json\n{\"b\":1}\n```\n", "answers otherwise"),
        ("```sh,starts=9000\nfalse\n```\n", "fails"),
    ] {
        let (_, faults) = page(text).await;
        assert!(faults.iter().any(|fault| fault.contains(part)), "{text}: {faults:?}");
    }
}
