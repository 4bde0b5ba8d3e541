//! What the database itself saw of each job: every claim, and every end of a run.

use super::installation::Installation;

/// An end is `given back` when its attempt was (released, or snoozed where the kind does so), and `failed` when not.
const KEEP: &str = "
    create table job_log (at timestamptz not null default clock_timestamp(), job_id bigint, kind text, event text);
    create function log_job() returns trigger language plpgsql as $$
    begin
        insert into job_log (job_id, kind, event) values (new.id, new.kind, case
            when new.state = 'running' then 'claimed'
            when new.crashes > old.crashes then 'crashed'
            when new.state <> 'available' then new.state
            when new.attempt = old.attempt then 'failed'
            else 'given back' end);
        return new;
    end $$;
    create trigger log_job after update on jobs for each row
        when ((old.state = 'running') <> (new.state = 'running')) execute function log_job();";

/// Begins to write the log.
pub(crate) async fn keep(installation: &Installation) {
    installation.execute(KEEP).await;
}

/// Each of so many payment links was made by a job that ran to its end once: no attempt failed, and no crash was counted,
/// of these jobs and of all others. Gives how many runs were given back.
pub(crate) async fn links_were_made_once_each(installation: &Installation, orders: i64) -> i64 {
    let count = async |event: &str| {
        let query = format!("select count(*) from job_log where kind = 'create_payment_link' and event = '{event}'");
        installation.number(&query).await
    };
    let given_back = count("given back").await;
    assert_eq!(count("completed").await, orders, "completed");
    assert_eq!(
        count("claimed").await,
        orders + given_back,
        "a job ran more than once, and not because it was given back"
    );
    let counted = "select count(*) from job_log where event in ('failed', 'crashed', 'dead')";
    assert_eq!(installation.number(counted).await, 0, "attempts or crashes were counted");
    let attempts = "select max(attempt) from jobs where kind = 'create_payment_link'";
    assert_eq!(installation.number(attempts).await, 1, "attempts");
    assert_eq!(installation.number("select sum(crashes)::bigint from jobs").await, 0, "crashes");
    given_back
}
