//! A log of every change of a job's state, written by PostgreSQL itself: which process changed which job, and when.

use sqlx::{Connection, Executor, PgConnection};

use super::installation::RunningInstallation;

/// A job that leaves the table, or becomes another job, is logged as completed. `was` is the state before, null for a
/// newly staged job; `who` is the session's name, which contains the process id.
const INSTALL: &str = "
    create table job_log (
        number bigserial primary key,
        at_ms bigint not null default cast(extract(epoch from clock_timestamp()) * 1000 as bigint),
        job_id bigint not null,
        kind text not null,
        was text,
        state text not null,
        attempts_counted bigint not null,
        crashes_counted bigint not null,
        crashes bigint not null,
        who text not null default current_setting('application_name')
    );
    create function write_job_log() returns trigger language plpgsql as $$
    begin
        if tg_op = 'DELETE' or (tg_op = 'UPDATE' and new.kind <> old.kind) then
            insert into job_log (job_id, kind, was, state, attempts_counted, crashes_counted, crashes)
            values (old.id, old.kind, old.state, 'completed', 0, 0, old.crashes);
            return null;
        end if;
        insert into job_log (job_id, kind, was, state, attempts_counted, crashes_counted, crashes) values (
            new.id, new.kind, case when tg_op = 'UPDATE' then old.state end, new.state,
            case when tg_op = 'UPDATE' then new.attempt - old.attempt else 0 end,
            case when tg_op = 'UPDATE' then new.crashes - old.crashes else 0 end, new.crashes);
        return null;
    end $$;
    create index job_log_job on job_log (job_id, number);
    create trigger job_log after insert or update of state or delete on jobs for each row execute function write_job_log();";

/// Starts to write the table `job_log` in that database.
pub(crate) async fn install(database_url: &str) {
    let mut connection = PgConnection::connect(database_url).await.unwrap();
    connection.execute(INSTALL).await.unwrap();
    connection.close().await.unwrap();
}

const CLAIMED: &str = "state = 'running'";
const COMPLETED: &str = "was = 'running' and state = 'completed'";
/// Released, or snoozed if its kind can be: the attempt is not counted.
const GIVEN_BACK: &str = "was = 'running' and state = 'available' and attempts_counted < 0 and crashes_counted <= 0";
const COUNTED: &str = "was = 'running' and (state = 'dead' or crashes_counted > 0
    or state = 'available' and attempts_counted = 0)";

/// Asserts that each of these payment links was made by a job that ran to its end once, and that no attempt failed and
/// no crash was counted, of these jobs and of all others. Returns how many runs were released.
pub(crate) async fn links_were_made_once_each(installation: &RunningInstallation, orders: i64) -> i64 {
    let count = async |what: &str| {
        let query = format!("select count(*) from job_log where kind = 'create_payment_link' and {what}");
        installation.number(&query).await
    };
    let given_back = count(GIVEN_BACK).await;
    assert_eq!(count(COMPLETED).await, orders, "completed");
    assert_eq!(
        count(CLAIMED).await,
        orders + given_back,
        "a job ran more than once, and not because it was given back"
    );
    let counted = format!("select count(*) from job_log where {COUNTED}");
    assert_eq!(installation.number(&counted).await, 0, "attempts or crashes were counted");
    assert_eq!(installation.number("select sum(crashes)::bigint from jobs").await, 0, "crashes");
    given_back
}
