//! The plan of every statement in the sources, whether the walk comes by it or not, with parameters that the planner does not
//! know: none reads a growing table from end to end.

use sqlx::{AssertSqlSafe, Executor, PgConnection, Row, SqliteConnection};
use store::Database;

use super::sqlite::scans;
use super::{GROWING, name};
use crate::rules::statements::{ONLY_POSTGRES, SCRIPTS, texts};

/// Statements that may read a table from end to end, and why.
const MAY_SCAN: [(&str, &str); 3] = [
    ("cap_due_times", "it runs once, after the clock of the database has gone back"),
    (
        "list_canceled_jobs",
        "an operator's list of jobs of which there is hardly one, so that an index of them tells little",
    ),
    ("list_callbacks", "an operator's list of the newest; the walk shows what it reads with real parameters"),
];

/// The statements of the sources that this database reads.
fn read_by(database: Database) -> Vec<String> {
    let is_read =
        |name: &str| !SCRIPTS.contains(&name) && (database == Database::Postgres || !ONLY_POSTGRES.contains(&name));
    let texts = texts().into_iter().filter(|text| text.database.is_none_or(|only| only == database));
    let read: Vec<String> = texts.map(|text| text.sql).filter(|sql| name(sql).is_some_and(is_read)).collect();
    assert!(read.len() > 150, "{} statements", read.len());
    read
}

/// The faults of all plans of SQLite.
pub(super) async fn sqlite_faults(connection: &mut SqliteConnection) -> Vec<String> {
    let mut faults = Vec::new();
    for sql in read_by(Database::Sqlite) {
        faults.extend(scans(connection, &sql).await);
    }
    faults
}

/// The faults of all plans of PostgreSQL.
pub(super) async fn postgres_faults(connection: &mut PgConnection) -> Vec<String> {
    connection.execute("set plan_cache_mode = force_generic_plan").await.unwrap();
    let mut faults = Vec::new();
    for sql in read_by(Database::Postgres) {
        if MAY_SCAN.iter().any(|(may, _)| name(&sql) == Some(*may)) {
            continue;
        }
        let run = |text: String| sqlx::raw_sql(AssertSqlSafe(text));
        if let Err(error) = run(format!("prepare planned as {sql}")).execute(&mut *connection).await {
            faults.push(format!("{}: {error}", name(&sql).unwrap_or_default()));
            continue;
        }
        let parameters = (1..).take_while(|number| sql.contains(&format!("${number}"))).count();
        let nulls = if parameters == 0 { String::new() } else { format!("({})", vec!["null"; parameters].join(", ")) };
        let plan = run(format!("explain execute planned{nulls}")).fetch_all(&mut *connection).await.unwrap();
        for step in plan.iter().map(|row| row.get::<String, _>(0)) {
            let table = step.split_once("Seq Scan on ").and_then(|(_, rest)| rest.split_whitespace().next());
            if table.is_some_and(|table| GROWING.contains(&table)) {
                faults.push(format!("{} scans: {}", name(&sql).unwrap_or_default(), step.trim()));
            }
        }
        connection.execute("deallocate planned").await.unwrap();
    }
    connection.execute("reset plan_cache_mode").await.unwrap();
    faults
}
