//! What the database itself saw of each job: every claim, and every end of a run.

use super::installation::Installation;

/// Begins to write the log.
pub(crate) async fn keep(installation: &Installation) {
    crate::support::job_log::install(installation.database_url()).await;
}

const CLAIMED: &str = "state = 'running'";
const COMPLETED: &str = "was = 'running' and state = 'completed'";
/// Released, or snoozed where the kind does so: the attempt is not counted.
const GIVEN_BACK: &str = "was = 'running' and state = 'available' and attempts_counted < 0 and crashes_counted <= 0";
const COUNTED: &str = "was = 'running' and (state = 'dead' or crashes_counted > 0
    or state = 'available' and attempts_counted = 0)";

/// Each of so many payment links was made by a job that ran to its end once: no attempt failed, and no crash was counted,
/// of these jobs and of all others. Gives how many runs were given back.
pub(crate) async fn links_were_made_once_each(installation: &Installation, orders: i64) -> i64 {
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
    let attempts = "select max(attempt) from jobs where kind = 'create_payment_link'";
    assert_eq!(installation.number(attempts).await, 1, "attempts");
    assert_eq!(installation.number("select sum(crashes)::bigint from jobs").await, 0, "crashes");
    given_back
}
