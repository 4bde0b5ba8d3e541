//! The statements of an audit. Each reads the rows of some orders: `$1` holds spans of their numbers.
//!
//! PostgreSQL does not know how many spans there are, nor how wide they are. In a plain join it assumes that each span
//! holds a ninth of the table, and reads the whole table. A `lateral` part with `offset 0` stays as it is, and reads
//! each span by an index.

use crate::findings::finding_columns;
use crate::jobs::job_columns;
use crate::refunds::refund_columns;
use crate::statement::Statement;
use crate::transactions::transaction_columns;

/// The orders' histories.
pub(super) const HISTORY: Statement = Statement {
    sqlite: "-- audit_history
        select order_id, number, at_ms, from_status, to_status, cause
        from (select value ->> 'after' as after, value ->> 'upto' as upto from json_each($1)) as span
        cross join order_history
        where order_id > span.after and order_id <= span.upto
        order by order_id, number",
    postgres: "-- audit_history
        select order_id, number, at_ms, from_status, to_status, cause
        from json_to_recordset(cast($1 as json)) as span(after bigint, upto bigint)
        cross join lateral (select * from order_history
            where order_id > span.after and order_id <= span.upto offset 0) as line
        order by order_id, number",
};

/// Their transactions.
pub(super) const TRANSACTIONS: Statement = Statement {
    sqlite: concat!(
        "-- audit_transactions
        select ",
        transaction_columns!(),
        "
        from (select value ->> 'after' as after, value ->> 'upto' as upto from json_each($1)) as span
        cross join transactions
        where order_id > span.after and order_id <= span.upto"
    ),
    postgres: concat!(
        "-- audit_transactions
        select ",
        transaction_columns!(),
        "
        from json_to_recordset(cast($1 as json)) as span(after bigint, upto bigint)
        cross join lateral (select * from transactions
            where order_id > span.after and order_id <= span.upto offset 0) as known"
    ),
};

/// Their refunds.
pub(super) const REFUNDS: Statement = Statement {
    sqlite: concat!(
        "-- audit_refunds
        select ",
        refund_columns!(),
        "
        from (select value ->> 'after' as after, value ->> 'upto' as upto from json_each($1)) as span
        cross join refunds
        where order_id > span.after and order_id <= span.upto
        order by id"
    ),
    postgres: concat!(
        "-- audit_refunds
        select ",
        refund_columns!(),
        "
        from json_to_recordset(cast($1 as json)) as span(after bigint, upto bigint)
        cross join lateral (select * from refunds
            where order_id > span.after and order_id <= span.upto offset 0) as refund
        order by id"
    ),
};

/// The jobs about them, of the kinds in `$2`, that are open or dead letters.
pub(super) const JOBS: Statement = Statement {
    sqlite: concat!(
        "-- audit_jobs
        select ",
        job_columns!(),
        "
        from (select value ->> 'after' as after, value ->> 'upto' as upto from json_each($1)) as span
        cross join jobs
        where subject_id > span.after and subject_id <= span.upto
            and kind in (select value from json_each($2)) and state in ('available', 'enqueued', 'running', 'dead')"
    ),
    postgres: concat!(
        "-- audit_jobs
        select ",
        job_columns!(),
        "
        from json_to_recordset(cast($1 as json)) as span(after bigint, upto bigint)
        cross join lateral (select * from jobs
            where subject_id > span.after and subject_id <= span.upto
                and kind = any(array(select json_array_elements_text(cast($2 as json))))
                and state in ('available', 'enqueued', 'running', 'dead') offset 0) as job"
    ),
};

/// The same about their refunds.
pub(super) const REFUND_JOBS: Statement = Statement {
    sqlite: concat!(
        "-- audit_refund_jobs
        select order_id, ",
        job_columns!(),
        "
        from (
            select refunds.id as refund_id, order_id
            from (select value ->> 'after' as after, value ->> 'upto' as upto from json_each($1)) as span
            cross join refunds where order_id > span.after and order_id <= span.upto
        ) as refund
        cross join jobs
        where subject_id = refund_id
            and kind in (select value from json_each($2)) and state in ('available', 'enqueued', 'running', 'dead')"
    ),
    postgres: concat!(
        "-- audit_refund_jobs
        select order_id, ",
        job_columns!(),
        "
        from json_to_recordset(cast($1 as json)) as span(after bigint, upto bigint)
        cross join lateral (select id as refund_id, order_id from refunds
            where order_id > span.after and order_id <= span.upto offset 0) as refund
        cross join lateral (select * from jobs
            where subject_id = refund_id and kind = any(array(select json_array_elements_text(cast($2 as json))))
                and state in ('available', 'enqueued', 'running', 'dead') offset 0) as job"
    ),
};

/// The callbacks about them that were answered with 1.
pub(super) const CALLBACKS: Statement = Statement {
    sqlite: "-- audit_callbacks
        select id, order_id, transaction_id, verdict
        from (select value ->> 'after' as after, value ->> 'upto' as upto from json_each($1)) as span
        cross join callbacks
        where order_id > span.after and order_id <= span.upto
            and verdict in ('allowed', 'already_paid')",
    postgres: "-- audit_callbacks
        select id, order_id, transaction_id, verdict
        from json_to_recordset(cast($1 as json)) as span(after bigint, upto bigint)
        cross join lateral (select * from callbacks
            where order_id > span.after and order_id <= span.upto
                and verdict in ('allowed', 'already_paid') offset 0) as callback",
};

/// Their open findings.
pub(super) const FINDINGS: Statement = Statement {
    sqlite: concat!(
        "-- audit_findings
        select ",
        finding_columns!(),
        "
        from (select value ->> 'after' as after, value ->> 'upto' as upto from json_each($1)) as span
        cross join review_findings
        where order_id > span.after and order_id <= span.upto
            and accepted_at_ms is null
        order by order_id, found_at_ms, number"
    ),
    postgres: concat!(
        "-- audit_findings
        select ",
        finding_columns!(),
        "
        from json_to_recordset(cast($1 as json)) as span(after bigint, upto bigint)
        cross join lateral (select * from review_findings
            where order_id > span.after and order_id <= span.upto and accepted_at_ms is null offset 0) as finding
        order by order_id, found_at_ms, number"
    ),
};

/// Those of the gateway's transactions in `$2` that have a row. PostgreSQL looks them up one by one; with a list it may
/// prefer to read all rows of the gateway.
pub(super) const KNOWN_TRANSACTIONS: Statement = Statement {
    sqlite: "-- known_transactions
        select transaction_id from json_each($2) cross join transactions where gateway = $1 and transaction_id = value",
    postgres: "-- known_transactions
        select known.transaction_id from json_array_elements_text(cast($2 as json)) as asked
        cross join lateral (select transaction_id from transactions
            where gateway = $1 and transaction_id = cast(asked.value as bigint) limit 1) as known",
};

/// The open job of this kind, which has no subject.
pub(super) const OPEN_SWEEP: &str = concat!(
    "-- audit_sweep
    select ",
    job_columns!(),
    " from jobs
    where kind = $1 and subject_id = 0 and state in ('available', 'enqueued', 'running') limit 1"
);
