//! Rules that no compiler checks, read from the sources: where SQL, the gateway's wire and error codes may be.

use std::fs;
use std::path::{Path, PathBuf};

use domain::job::{JobKind, JobState};
use syn::visit::{self, Visit};

mod conflicts;
mod documents;
mod shown;
pub(crate) mod statements;
mod types;

/// The top folder of the repository.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The texts of the product's sources by their paths. The part after a file's first unit test is left out, and so are
/// files of tests.
pub(crate) fn sources() -> Vec<(String, String)> {
    let top = top();
    let mut files = Vec::new();
    for part in ["api/src", "cli/src", "http_server/src", "shared", "worker/src"] {
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

/// The files outside `may` that hold one of these words outside comments.
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

/// Shows: PROMISE-11
#[test]
fn only_the_store_writes_sql() {
    let store = ["shared/store/src/lib.rs", "shared/store/src/"];

    assert_eq!(trespassers(&["sqlx::query", "update orders", "from jobs", "insert into"], &store), [""; 0]);
}

/// Shows: PROMISE-11
#[test]
fn only_the_atmos_client_knows_the_gateways_json() {
    let atmos = ["shared/gateway/src/atmos"];

    assert_eq!(trespassers(&["store_transaction", "success_trans_id", "/merchant/pay"], &atmos), [""; 0]);
}

/// Shows: PROMISE-11
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

/// The engine knows kinds only by their table; the meaning of a job's end is written where orders are known.
/// Shows: CODE-4
#[test]
fn the_engine_of_jobs_knows_no_kind_and_nothing_that_a_job_is_about() {
    let business = ["order", "refund", "callback", "link", "OrderId", "RefundId", "CallbackId", "Subject"];
    let kinds: Vec<String> = JobKind::ALL.iter().map(|kind| format!("Kind::{kind:?}")).collect();
    let engine: Vec<_> = lines().into_iter().filter(|(path, _)| path.starts_with("shared/store/src/jobs")).collect();
    assert!(engine.len() > 500, "{} lines", engine.len());

    let knows = |line: &str| {
        let line = line.replace("order by", "");
        business.iter().any(|word| line.contains(word)) || kinds.iter().any(|kind| line.contains(kind.as_str()))
    };
    let found: Vec<_> = engine.into_iter().filter(|(_, line)| knows(line)).collect();

    assert_eq!(found, []);
}

/// A kind's name is written once, so that the compiler finds all its readers.
/// Shows: CODE-4
#[test]
fn no_statement_spells_a_kind() {
    let names: Vec<String> = JobKind::ALL.iter().map(|kind| format!("'{kind}'")).collect();
    let spells = |(_, line): &(String, String)| names.iter().any(|name| line.contains(name.as_str()));

    assert_eq!(lines().into_iter().filter(spells).collect::<Vec<_>>(), []);
}

/// A statement is one text, so the states of an open job are in many statements: always all of them, and as the partial
/// indexes list them.
#[test]
fn whatever_asks_for_several_states_of_jobs_asks_for_all_open_ones() {
    let open: Vec<String> =
        JobState::ALL.iter().filter(|state| state.is_open()).map(|state| format!("'{state}'")).collect();
    let may_be_canceled = "'available', 'enqueued', 'dead'".to_owned();
    let allowed = [open.join(", "), format!("{}, '{}'", open.join(", "), JobState::Dead), may_be_canceled];
    let mut seen = 0;
    for (path, text) in sources() {
        for list in text.split("state in (").skip(1).filter_map(|rest| rest.split(')').next()) {
            if open.iter().any(|state| list.contains(state.as_str())) {
                assert!(allowed.contains(&list.to_owned()), "{path}: {list}");
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "{seen} lists");
}

/// Standard error may be full, stuck or closed. Writing to it waits, and the macros panic.
/// Shows: INVARIANT-24
#[test]
fn nothing_but_the_log_writer_knows_standard_error() {
    let writes = ["shared/telemetry/src/lib.rs"];
    let words = ["stderr()", "eprint!(", "eprintln!(", "print!(", "println!("];

    assert_eq!(trespassers(&words, &writes), [""; 0]);
}

/// The product's sources as syntax trees, so that no rule depends on how a line is broken.
pub(crate) fn parsed() -> Vec<(String, syn::File)> {
    let parse = |(path, text): (String, String)| {
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        (path, file)
    };
    sources().into_iter().map(parse).collect()
}

/// The functions that are called somewhere, each by the last two parts of its path: `jobs::finish`, or `finish` alone.
#[derive(Default)]
struct Calls(Vec<String>);

impl Calls {
    fn of_function(function: &syn::Block) -> Calls {
        let mut calls = Calls::default();
        calls.visit_block(function);
        calls
    }

    fn of_impl(item: &syn::ItemImpl) -> Calls {
        let mut calls = Calls::default();
        calls.visit_item_impl(item);
        calls
    }

    /// How many of them have this name, whatever the module.
    fn named(&self, name: &str) -> usize {
        self.0.iter().filter(|call| call.rsplit("::").next() == Some(name)).count()
    }
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = call.func.as_ref() {
            let words: Vec<String> = function.path.segments.iter().map(|word| word.ident.to_string()).collect();
            self.0.push(words[words.len().saturating_sub(2)..].join("::"));
        }
        visit::visit_expr_call(self, call);
    }
}

/// All functions in a file, nested ones included.
#[derive(Default)]
struct Functions<'ast>(Vec<(&'ast syn::Signature, &'ast syn::Block)>);

impl<'ast> Functions<'ast> {
    fn of(file: &'ast syn::File) -> Self {
        let mut functions = Functions::default();
        functions.visit_file(file);
        functions
    }
}

impl<'ast> Visit<'ast> for Functions<'ast> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.0.push((&function.sig, &function.block));
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.0.push((&function.sig, &function.block));
        visit::visit_impl_item_fn(self, function);
    }
}

/// Whether this is the type of that name, whatever its path.
fn is_named(kind: &syn::Type, name: &str) -> bool {
    matches!(kind, syn::Type::Path(path) if path.path.segments.last().is_some_and(|word| word.ident == name))
}

/// One statement writes `paid`. It has a text for each database and runs in one function, which is called once.
/// Shows: PROMISE-2
#[test]
fn paid_is_written_in_one_statement() {
    let sources = sources();
    let count = |words: &str| -> Vec<(&str, usize)> {
        let counted = sources.iter().map(|(path, text)| (path.as_str(), text.matches(words).count()));
        counted.filter(|(_, count)| *count > 0).collect()
    };
    let settlement = "shared/store/src/settlement.rs";
    let calls = |(_, block): (&syn::Signature, &syn::Block)| Calls::of_function(block).named("mark_paid");
    let calls: usize = parsed().iter().flat_map(|(_, file)| Functions::of(file).0).map(calls).sum();

    assert_eq!(count("status = 'paid', "), [(settlement, 2)]);
    assert_eq!(count("\"-- mark_paid\n"), [(settlement, 2)]);
    assert_eq!(count("MARK_PAID.on("), [(settlement, 1)]);
    assert_eq!(calls, 1);
}

/// A function that commits an effect takes a lease and begins with the guarded end of the run.
/// Shows: MONEY-9
#[test]
fn only_functions_with_a_lease_end_a_run() {
    let takes_lease = |head: &syn::Signature| {
        head.inputs.iter().any(|input| match input {
            syn::FnArg::Typed(input) => match input.ty.as_ref() {
                syn::Type::Reference(lent) => is_named(&lent.elem, "Lease"),
                _ => false,
            },
            syn::FnArg::Receiver(_) => false,
        })
    };
    let mut seen = Vec::new();
    for (path, file) in &parsed() {
        for (head, block) in Functions::of(file).0 {
            let calls = Calls::of_function(block);
            if calls.0.iter().any(|call| matches!(call.as_str(), "jobs::finish" | "jobs::hold")) {
                assert!(takes_lease(head), "{path}: {}", head.ident);
                seen.push(head.ident.to_string());
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
            "take_back_sending",
            "take_choice_back",
            "wake_settlement"
        ]
    );
}

/// A function that ends many runs in one transaction gets the lease of each. The rule above covers a single run.
#[test]
fn every_batch_that_ends_runs_holds_their_leases() {
    let is_lease = |kind: &syn::Type| match kind {
        syn::Type::Tuple(tuple) => tuple.elems.first().is_some_and(|first| is_named(first, "Lease")),
        _ => is_named(kind, "Lease"),
    };
    let ends = |calls: &Calls| calls.named("finish_all") + calls.named("convert_all");
    let (mut batched, mut callers) = (Vec::new(), Vec::new());
    for (path, file) in &parsed() {
        let calls = |(head, block): &(&syn::Signature, &syn::Block)| {
            (ends(&Calls::of_function(block)) > 0).then(|| head.ident.to_string())
        };
        callers.extend(Functions::of(file).0.iter().filter_map(calls));
        for item in &file.items {
            let syn::Item::Impl(item) = item else { continue };
            let is_batched = item.trait_.as_ref().is_some_and(|(.., path, _)| path.is_ident("Batched"));
            if !is_batched || ends(&Calls::of_impl(item)) == 0 {
                continue;
            }
            let written = file.items.iter().find_map(|other| match other {
                syn::Item::Struct(written) if is_named(&item.self_ty, &written.ident.to_string()) => Some(written),
                _ => None,
            });
            let written = written.unwrap_or_else(|| panic!("{path}: its type stands elsewhere"));
            assert!(written.fields.iter().any(|field| is_lease(&field.ty)), "{path}: {}", written.ident);
            batched.push(written.ident.to_string());
        }
    }
    batched.sort();
    callers.sort();
    assert_eq!(batched, ["Ending", "Linking", "Settling"]);
    assert_eq!(
        callers,
        [&["end_unconverted", "finish"][..], &["write_all"; 3]].concat(),
        "each of those, what one of them leaves over, and the one that takes one lease"
    );
}

/// API, command line and pages stage jobs; only a worker that runs a job has a lease.
#[test]
fn no_code_outside_the_worker_holds_a_lease() {
    let holders: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| {
            (path.starts_with("api/") || path.starts_with("cli/")) && text.replace("LeaseLost", "").contains("Lease")
        })
        .map(|(path, _)| path)
        .collect();

    assert_eq!(holders, [""; 0]);
}
