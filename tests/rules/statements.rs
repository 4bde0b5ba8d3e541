//! Every statement is a whole text: each one in the store's sources is prepared unchanged on an empty, migrated
//! database.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, SqlSafeStr, SqliteConnection};
use store::Database;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Expr, ExprLit, Lit, Token};

use super::{parsed, sources};
use crate::support::fixture::Fixture;

/// The statements for a server alone: its time, settings, sessions and history.
pub(crate) const ONLY_POSTGRES: [&str; 16] = [
    "measure_clock",
    "unsafe_settings",
    "server",
    "session",
    "sole_process_holds",
    "take_sole_process",
    "keep_history",
    "present_history",
    "read_counters",
    "take_ids",
    "jump_to_another_history",
    "jump",
    "table_setting",
    "migration_blocked_by",
    "test_connection",
    "unlocked_jobs",
];

/// Texts of several statements, which cannot be prepared.
pub(crate) const SCRIPTS: [&str; 1] = ["set_up_session"];

/// A statement's text, and its place.
pub(crate) struct Text {
    path: String,
    pub(crate) sql: String,
    /// `None` if both databases read it.
    pub(crate) database: Option<Database>,
}

impl Text {
    fn name(&self) -> &str {
        self.sql["-- ".len()..].split_whitespace().next().unwrap_or_default()
    }
}

/// Shows: PROMISE-12
#[tokio::test]
async fn every_statement_is_one_text_that_sqlite_reads() {
    let fixture = Fixture::sqlite().await;
    let options = SqliteConnectOptions::new().filename(fixture.file().unwrap());
    prepare_all(Database::Sqlite, SqliteConnection::connect_with(&options).await.unwrap()).await;
}

/// Shows: PROMISE-12
#[tokio::test]
async fn every_statement_is_one_text_that_postgres_reads() {
    let fixture = Fixture::postgres().await;
    prepare_all(Database::Postgres, fixture.connection().await).await;
}

async fn prepare_all<C: Connection>(database: Database, mut connection: C)
where
    for<'c> &'c mut C: Executor<'c, Database = C::Database>,
{
    let texts = texts();
    let (mut faults, mut names) = (Vec::new(), BTreeSet::new());
    for text in texts.iter().filter(|text| text.database.is_none_or(|only| only == database)) {
        let is_elsewhere = database == Database::Sqlite && ONLY_POSTGRES.contains(&text.name());
        if SCRIPTS.contains(&text.name()) || is_elsewhere {
            continue;
        }
        names.insert(text.name());
        if let Err(error) = connection.prepare(AssertSqlSafe(text.sql.as_str()).into_sql_str()).await {
            faults.push(format!("{}: {}: {error}", text.path, text.name()));
        }
    }
    assert!(names.len() > 100, "{names:?}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A text that is built at run time cannot be read in the sources. The name of a session is not a statement.
/// Shows: PROMISE-12
#[test]
fn no_statement_is_put_together() {
    let may = ["shared/store/src/connecting.rs"];
    let puts_together = |text: &str| {
        let formatted = text.split("format!(").skip(1).any(|rest| is_statement(rest.trim_start()));
        formatted || text.contains("AssertSqlSafe") || text.contains("QueryBuilder")
    };
    let found: Vec<String> =
        sources().into_iter().filter(|(_, text)| puts_together(text)).map(|(path, _)| path).collect();

    assert_eq!(found, may);
}

/// Whether a string begins here that starts with a statement's name.
fn is_statement(source: &str) -> bool {
    source.strip_prefix("\"-- ").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()))
}

/// The tests above do not prepare a text without a name.
#[test]
fn every_statement_opens_with_its_name() {
    let mut nameless = Nameless::default();
    for (path, file) in parsed().iter().filter(|(path, _)| path.starts_with("shared/store/src/")) {
        nameless.path.clone_from(path);
        nameless.visit_file(file);
    }

    assert!(nameless.calls > 100, "{} calls", nameless.calls);
    assert_eq!(nameless.faults, [""; 0]);
}

/// Arguments to sqlx that are not a named statement, and texts that look like a statement and have no name.
#[derive(Default)]
struct Nameless {
    path: String,
    calls: usize,
    faults: Vec<String>,
}

impl Nameless {
    /// A text may come from a variable or a constant: its literal is visited where it is written.
    fn may_be_given(&self, argument: &Expr) -> bool {
        match argument {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => has_name(&text.value()),
            Expr::Macro(call) => opening(&call.mac).is_some_and(|text| has_name(&text)),
            Expr::MethodCall(call) => call.method == "on",
            Expr::Path(_) => true,
            // The session's name is put into this text; only that file may do so.
            Expr::Call(_) => self.path == "shared/store/src/connecting.rs",
            _ => false,
        }
    }

    fn check(&mut self, text: &str) {
        let opens = ["select ", "insert into ", "update ", "delete from ", "with ", "-- "];
        let is_one = opens.iter().any(|opening| text.trim_start().to_lowercase().starts_with(opening));
        if is_one && !has_name(text) {
            self.faults.push(format!("{}: {text}", self.path));
        }
    }
}

impl<'ast> Visit<'ast> for Nameless {
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let Expr::Path(function) = call.func.as_ref() {
            let words: Vec<String> = function.path.segments.iter().map(|word| word.ident.to_string()).collect();
            if let [library, name] = words.as_slice()
                && library == "sqlx"
                && (name.starts_with("query") || name == "raw_sql")
            {
                self.calls += 1;
                if !call.args.first().is_some_and(|argument| self.may_be_given(argument)) {
                    self.faults.push(format!("{}: call {} of {name}", self.path, self.calls));
                }
            }
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(text) = opening(call) {
            self.check(&text);
        }
        visit::visit_macro(self, call);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.check(&text.value());
    }
}

/// The string at the beginning of a `concat!`.
fn opening(call: &syn::Macro) -> Option<String> {
    if !call.path.is_ident("concat") {
        return None;
    }
    let parts = call.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated).ok()?;
    match parts.into_iter().next()? {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

fn has_name(text: &str) -> bool {
    is_statement(&format!("\"{text}"))
}

/// All texts in the store's sources.
pub(crate) fn texts() -> Vec<Text> {
    let sources: Vec<_> = sources().into_iter().filter(|(path, _)| path.starts_with("shared/store/src/")).collect();
    let columns: BTreeMap<String, String> = sources.iter().flat_map(|(_, source)| macros(source)).collect();
    let mut texts = Vec::new();
    for (path, source) in &sources {
        for (at, _) in source.match_indices("\"-- ").filter(|(at, _)| is_statement(&source[*at..])) {
            let (before, from) = (source[..at].trim_end(), &source[at..]);
            let (before, sql) = match before.strip_suffix("concat!(") {
                Some(before) => (before.trim_end(), concat(from, &columns)),
                None => (before, literal(from).0),
            };
            if before.ends_with("format!(") {
                continue;
            }
            let last = before.rsplit([' ', '\n', '(']).next().unwrap_or_default();
            let database = match last {
                "sqlite:" => Some(Database::Sqlite),
                "postgres:" | "postgres_skipping:" => Some(Database::Postgres),
                _ => None,
            };
            texts.push(Text { path: path.clone(), sql, database });
        }
    }
    texts
}

/// The lists of columns, and every other text with a name.
fn macros(source: &str) -> Vec<(String, String)> {
    let named = source.split("macro_rules! ").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once(' ')?;
        let (_, body) = rest.split_once("() => {")?;
        Some((name.to_owned(), body.trim_start()))
    });
    named.filter(|(_, body)| body.starts_with('"')).map(|(name, body)| (name, literal(body).0)).collect()
}

/// The string that begins here, and the source after it.
fn literal(source: &str) -> (String, &str) {
    let (mut text, mut rest) = (String::new(), &source[1..]);
    loop {
        let end = rest.find(['"', '\\']).expect("a string ends");
        text.push_str(&rest[..end]);
        let escaped = match rest[end..].strip_prefix('\\') {
            Some(escaped) => escaped,
            None => return (text, &rest[end + 1..]),
        };
        rest = match escaped.strip_prefix('n') {
            Some(rest) => {
                text.push('\n');
                rest
            }
            None if escaped.starts_with('\n') => escaped.trim_start(),
            None => {
                text.push_str(&escaped[..1]);
                &escaped[1..]
            }
        };
    }
}

/// The strings and lists of columns up to the end of a `concat!`.
fn concat(source: &str, columns: &BTreeMap<String, String>) -> String {
    let (mut text, mut rest) = (String::new(), source);
    loop {
        rest = rest.trim_start_matches([',', ' ', '\n']);
        if rest.starts_with(')') {
            return text;
        }
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.split_once('\n').unwrap_or_default().1;
            continue;
        }
        rest = match rest.split_once("!()") {
            _ if rest.starts_with('"') => {
                let (part, rest) = literal(rest);
                text.push_str(&part);
                rest
            }
            Some((name, rest)) => {
                text.push_str(columns.get(name).unwrap_or_else(|| panic!("no list of columns is named {name}")));
                rest
            }
            None => panic!("neither a string nor a list of columns: {rest:.60}"),
        };
    }
}
