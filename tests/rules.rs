//! Rules that no compiler sees, read from the sources: where SQL, the gateway's words and error codes may stand.

use std::fs;
use std::path::{Path, PathBuf};

use shared::job::JobKind;

/// The product's sources with their texts, by their paths from the top folder. What follows the first unit test of a file
/// is left out, and so are files of tests.
fn sources() -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for part in ["api/src", "cli/src", "http_server/src", "shared/src", "worker/src"] {
        collect(&top.join(part), &mut files);
    }
    let named = files.into_iter().map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        (file.strip_prefix(top).unwrap().to_string_lossy().into_owned(), product)
    });
    let sources: Vec<_> = named.filter(|(path, _)| !path.contains("tests")).collect();
    assert!(sources.len() > 50, "{} files", sources.len());
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The files that hold one of these words outside comments and are not among those that may.
fn trespassers(words: &[&str], may: &[&str]) -> Vec<String> {
    let holds = |text: &str| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.into_iter().any(|line| words.iter().any(|word| line.contains(word)))
    };
    let all = sources().into_iter().filter(|(_, text)| holds(text)).map(|(path, _)| path);
    let found: Vec<String> = all.collect();
    assert!(!found.is_empty(), "{words:?} occur nowhere, so nothing is shown");
    found.into_iter().filter(|path| !may.iter().any(|part| path.starts_with(part))).collect()
}

#[test]
fn only_the_store_writes_sql() {
    let store = ["shared/src/store.rs", "shared/src/store/"];

    assert_eq!(trespassers(&["sqlx::query", "update orders", "from jobs", "insert into"], &store), [""; 0]);
}

#[test]
fn only_the_atmos_client_knows_the_gateways_json() {
    let atmos = ["shared/src/gateway/atmos"];

    assert_eq!(trespassers(&["store_transaction", "success_trans_id", "/merchant/pay"], &atmos), [""; 0]);
}

#[test]
fn only_one_module_knows_error_codes() {
    let knows = ["api/src/problem.rs", "api/src/schema.rs"]; // the latter shows one as an example

    assert_eq!(trespassers(&["urn:tasdiq:problem"], &knows), [""; 0]);
}

/// The lines of the product's code, without comments, with their files.
fn lines() -> Vec<(String, String)> {
    let all = sources().into_iter().flat_map(|(path, text)| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned);
        code.map(|line| (path.clone(), line)).collect::<Vec<_>>()
    });
    all.collect()
}

/// The engine knows kinds by their table; what a job's end means is said by whoever knows orders.
#[test]
fn the_engine_of_jobs_knows_no_kind_and_nothing_that_a_job_is_about() {
    let business = ["order", "refund", "callback", "link", "OrderId", "RefundId", "CallbackId", "Subject"];
    let kinds: Vec<String> = JobKind::ALL.iter().map(|kind| format!("Kind::{kind:?}")).collect();
    let engine: Vec<_> = lines().into_iter().filter(|(path, _)| path.starts_with("shared/src/store/jobs")).collect();
    assert!(engine.len() > 500, "{} lines", engine.len());

    let knows = |line: &str| {
        let line = line.replace("order by", "");
        business.iter().any(|word| line.contains(word)) || kinds.iter().any(|kind| line.contains(kind.as_str()))
    };
    let found: Vec<_> = engine.into_iter().filter(|(_, line)| knows(line)).collect();

    assert_eq!(found, []);
}

/// A kind's name and the states of an open job stand in one place each, so that the compiler finds what reads them.
#[test]
fn no_statement_spells_a_kind_or_the_open_states() {
    let names: Vec<String> = JobKind::ALL.iter().map(|kind| format!("'{kind}'")).collect();
    let (mut kinds, mut states) = (Vec::new(), Vec::new());
    for (path, line) in lines() {
        if names.iter().any(|name| line.contains(name.as_str())) {
            kinds.push(path.clone());
        }
        if line.contains("'available', 'enqueued', 'running'") {
            states.push(path);
        }
    }

    assert_eq!(kinds, [""; 0]);
    assert_eq!(states, ["shared/src/store/jobs.rs"; 2], "open, and open or dead");
}

/// Standard error may be full, stuck or gone. Writing there waits, and the macros panic.
#[test]
fn nothing_but_the_log_writer_knows_standard_error() {
    let writes = ["shared/src/telemetry.rs"];
    let words = ["stderr()", "eprint!(", "eprintln!(", "print!(", "println!("];

    assert_eq!(trespassers(&words, &writes), [""; 0]);
}

/// `paid` is written in one function, which is called in one place.
#[test]
fn paid_is_written_in_one_statement() {
    let sources = sources();
    let writes: Vec<&str> =
        sources.iter().flat_map(|(path, text)| text.matches("status = 'paid', ").map(|_| path.as_str())).collect();
    let calls: usize = sources.iter().map(|(_, text)| text.matches("mark_paid(&mut write").count()).sum();

    assert_eq!((writes, calls), (vec!["shared/src/store/settlement.rs"], 1));
}

/// Whatever commits an effect takes a lease and begins with the guarded end of the run.
#[test]
fn only_functions_with_a_lease_end_a_run() {
    let mut seen = Vec::new();
    for (path, text) in sources() {
        for function in text.split("async fn ").skip(1) {
            let body = function.split("\n}\n").next().unwrap_or_default();
            let Some((head, rest)) = body.split_once(" {\n") else { continue };
            if rest.contains("jobs::finish(") || rest.contains("jobs::hold(") {
                assert!(head.contains("lease: &Lease"), "{path}: {head}");
                seen.push(head.split('(').next().unwrap_or_default().to_owned());
            }
        }
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "begin_sending",
            "close_as_done",
            "close_as_refused",
            "expire_without_link",
            "keep_refusal",
            "put_in_review",
            "take_back_sending"
        ]
    );
}

/// What ends many runs in one transaction is given the lease of each.
#[test]
fn whatever_ends_runs_together_holds_their_leases() {
    let (mut seen, mut calls) = (Vec::new(), 0);
    for (path, text) in sources() {
        calls += text.matches("finish_all(&mut write, ").count();
        for part in text.split("impl Together for ").skip(1) {
            let body = part.split("\n}\n").next().unwrap_or_default();
            if body.contains("finish_all(&mut write, ") {
                let name = body.split_whitespace().next().unwrap_or_default();
                let (_, fields) = text.split_once(&format!("struct {name} {{")).unwrap_or_default();
                let fields = fields.split('}').next().unwrap_or_default();
                assert!(fields.contains(": Lease,") || fields.contains(": (Lease, Finish),"), "{path}: {name}");
                seen.push(name.to_owned());
            }
        }
    }
    seen.sort();
    assert_eq!((seen.len(), seen), (calls, ["Ending", "Linking", "Settling", "Waking"].map(str::to_owned).to_vec()));
}

/// API, command line and pages stage jobs; only whoever runs one has a lease.
#[test]
fn nobody_outside_the_worker_holds_a_lease() {
    let holders: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| {
            (path.starts_with("api/") || path.starts_with("cli/")) && text.replace("LeaseLost", "").contains("Lease")
        })
        .map(|(path, _)| path)
        .collect();

    assert_eq!(holders, [""; 0]);
}
