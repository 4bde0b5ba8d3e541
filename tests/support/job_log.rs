//! Every change of every job's state, written down by PostgreSQL itself: who did what to which job, and when.

use sqlx::{Connection, Executor, PgConnection};

/// `was` is the state before, null for a job that was just staged; `who` is the session's name, which holds the number of
/// the process.
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
        insert into job_log (job_id, kind, was, state, attempts_counted, crashes_counted, crashes) values (
            new.id, new.kind, case when tg_op = 'UPDATE' then old.state end, new.state,
            case when tg_op = 'UPDATE' then new.attempt - old.attempt else 0 end,
            case when tg_op = 'UPDATE' then new.crashes - old.crashes else 0 end, new.crashes);
        return null;
    end $$;
    create index job_log_job on job_log (job_id, number);
    create trigger job_log after insert or update of state on jobs for each row execute function write_job_log();";

/// Begins to write the table `job_log` in that database.
pub(crate) async fn install(database_url: &str) {
    let mut connection = PgConnection::connect(database_url).await.unwrap();
    connection.execute(INSTALL).await.unwrap();
    connection.close().await.unwrap();
}
