//! The plan of each statement of the product, with ten thousand jobs and with a million: it finds its rows by an index,
//! and reads no more of them.
//!
//! The statements are those that the product really ran. PostgreSQL logs their plans, with the real parameters
//! (`auto_explain`); SQLite is asked about each text that was sent to it. Both are also asked about every statement in the
//! sources, run or not.

mod calls;
mod counts;
mod incremental;
mod lists;
mod postgres;
mod sources;
mod sqlite;
mod walk;
mod young;

/// The tables that grow for ever, or with the open work.
const GROWING: [&str; 10] = [
    "jobs",
    "orders",
    "order_history",
    "transactions",
    "refunds",
    "callbacks",
    "idempotency_keys",
    "job_attempts",
    "review_findings",
    "fiscal_receipts",
];

/// The statements that must have run: those for each job, order and callback, those that run all the time, and those
/// for each batch of an audit.
const NAMES: [&str; 93] = [
    "earliest_due",
    "enqueue_jobs",
    "enqueue_jobs_again",
    "count_enqueued",
    "crashed_jobs",
    "count_crash",
    "dead_letter_job",
    "oldest_due",
    "group_suspects",
    "end_leases_of_suspects",
    "claim_jobs",
    "renew_leases",
    "finish_jobs",
    "complete_jobs",
    "convert_jobs",
    "keep_attempts",
    "attempts_of_job",
    "prune_attempts",
    "stage_jobs",
    "open_job",
    "enqueue_all_again",
    "end_all_leases",
    "count_open_orders",
    "open_orders_by_account",
    "count_dead",
    "find_orders",
    "find_order_by_token",
    "order_history",
    "add_history_lines",
    "hint_from_return_page",
    "find_drafts",
    "lock_orders_asked_about",
    "allow_drafts",
    "keep_callbacks",
    "find_callbacks",
    "list_callbacks",
    "list_callbacks_of_order",
    "callback_gateways",
    "newest_verdicts",
    "newest_verdicts_without_gateway",
    "transactions_of_orders",
    "mark_paid",
    "reserve_refund",
    "debit_to_refund",
    "request_refund",
    "refunds_of_order",
    "find_refund",
    "hold_lease",
    "jobs_of_order",
    "open_refunds_without_job",
    "orders_without_link_job",
    "open_orders_without_settle_job",
    "ended_orders",
    "orphaned_orders",
    "orders_before_a_person",
    "cancel_dead_letter",
    "cancel_dead_callback_jobs",
    "cancel_dead_refunds",
    "prune_jobs",
    "prune_callbacks",
    "prune_unproven",
    "count_unproven_again",
    "prune_idempotency_keys",
    "audit_next_orders",
    "audit_history",
    "audit_transactions",
    "audit_refunds",
    "audit_jobs",
    "audit_refund_jobs",
    "audit_callbacks",
    "audit_findings",
    "known_transactions",
    "create_orders",
    "find_reference",
    "find_called",
    "find_holders",
    "begin_transactions",
    "move_told",
    "free_orders",
    "is_order_of",
    "inspect_transaction",
    "statement_of_account",
    "keep_fiscal_receipt",
    "fiscal_receipts_of_order",
    "open_orders_by_shop",
    "hint_from_callbacks",
    "list_orders_by_time",
    "list_orders_of_statuses",
    "list_orders_of_amount",
    "list_marked_orders",
    "orders_of_reference",
    "orders_of_transaction",
    "shops_of_orders",
];

/// The name at the beginning of a statement.
fn name(statement: &str) -> Option<&str> {
    let name = statement.trim_start().strip_prefix("-- ")?.split_whitespace().next()?;
    // A migration begins with a sentence.
    name.starts_with(|first: char| first.is_ascii_lowercase()).then_some(name)
}
