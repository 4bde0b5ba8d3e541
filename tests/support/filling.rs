//! An installation that has run for some days, written by SQL: any number of rows, in a realistic mix.

/// How many rows an installation has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FillSize {
    pub(crate) jobs: i64,
    pub(crate) orders: i64,
}

impl FillSize {
    pub(crate) const SMALL: FillSize = FillSize { jobs: 10_000, orders: 3_000 };
    pub(crate) const LARGE: FillSize = FillSize { jobs: 1_000_000, orders: 100_000 };

    /// The paid orders of [`called_orders`].
    pub(crate) fn called(self) -> i64 {
        self.orders / 2
    }
}

/// The numbers of orders and jobs of [`called_orders`] come after this one.
pub(crate) const FIRST_CALLED: i64 = 30_000_000;

/// The number of open orders, enqueued jobs, running jobs, dead letters and rows to be deleted. It is the same for
/// every size, because work in progress does not grow with the history.
pub(crate) const UNDER_WAY: i64 = 200;

/// The lease token of running jobs.
pub(crate) const TOKEN: i64 = 7;

/// The statements that fill an empty database. `n` counts the rows; ids above those of [`FillSize`] belong to work in
/// progress.
///
/// Ended orders have their `settle_order`, due in some days. 3 of 100 jobs are a backlog that is due; the other jobs
/// are done, some of them as dead letters.
pub(crate) fn statements(extent: FillSize, now_ms: i64) -> Vec<String> {
    let FillSize { jobs, orders } = extent;
    let all_orders = orders + UNDER_WAY;
    let all_jobs = jobs + 3 * UNDER_WAY;
    // Orders that ended in the last 71 h, evenly spread; open orders began within the last half hour.
    let order = format!(
        "insert into orders (id, token, api_key_name, reference, product_name, amount, payment_type, language, status,
            gateway, transaction_id, payment_url, links_made, link_at_ms, expires_at_ms, final_at_ms, created_at_ms,
            pending_since_ms)
        select n, {token}, 'shop', 'R-' || n, 'Tea', 5000, 'atmos', 'uz',
            case when n > {orders} then 'pending' when n % 3 = 0 then 'expired' else 'paid' end, 'sandbox:1234',
            case when n % 2 = 0 or n <= {orders} then 1000000 + n end,
            case when n % 2 = 0 or n <= {orders} then 'http://gateway/' || n end, 1, {created}, {created} + 1800000,
            case when n <= {orders} then {created} + 60000 end, {created}, {created} from {numbers}",
        // 32 digits
        token = "cast(10000000000000000 + n as text) || substr(cast(10000000000000000 + n as text), 3)",
        created = format!(
            "(case when n > {orders} then {now_ms} - 600000 else {now_ms} - 255000000 + 254000000 * n / {orders} end)"
        ),
        numbers = numbers(1, all_orders),
    );
    let job = |from: i64, to: i64, kind: &str, subject: &str, queue: &str, state: &str, due: &str, further: &str| {
        let (callback, order) =
            (r#"'{"kind":"process_callback","callback_id":'"#, r#"'{"kind":"settle_order","order_id":'"#);
        let numbers = numbers(from, to);
        format!(
            "insert into jobs (id, queue, kind, subject_id, payload, state, attempt, due_at_ms, created_at_ms,
                finished_at_ms, lease_token, waiting_since_ms)
            select n, {queue}, {kind}, {subject},
                case when {kind} = 'process_callback' then {callback} else {order} end || ({subject}) || '}}',
                {state}, 1, {due}, {now_ms} - 600000, {further} from {numbers}"
        )
    };
    let backlog = jobs * 3 / 100;
    let long_ago = format!("{now_ms} - 8000000000");
    let finished = format!("{now_ms} - 500000000 + 499000000 * n / {jobs}");
    vec![
        order,
        format!(
            "insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
            select n, 1, {now_ms}, null, 'pending', 'the shop asked for it' from {}",
            numbers(1, all_orders)
        ),
        format!(
            "insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms)
            select 'sandbox:1234', 1000000 + n, n, 5000, 'open', {now_ms} from {}",
            numbers(1, all_orders)
        ),
        format!(
            "insert into callbacks (id, digest, body, verdict, order_id, transaction_id, received_at_ms, last_seen_at_ms)
            select n, 'digest ' || n, 'body', 'allowed', n, 1000000 + n, {now_ms} - 255000000 + 254000000 * n / {orders},
            {now_ms} from {}",
            numbers(1, orders)
        ),
        format!(
            "insert into idempotency_keys (api_key_name, key, body_digest, order_id, created_at_ms)
            select 'shop', 'key ' || n, 'digest', n, {now_ms} - 80000000 + 79000000 * n / {orders} from {}",
            numbers(1, orders)
        ),
        format!(
            "insert into refunds (id, order_id, amount, state, transaction_id, success_transaction_id, requested_by,
                created_at_ms, finished_at_ms)
            select n, n, 5000, 'done', 1000000 + n, 2000000 + n, 'shop', {long_ago}, {long_ago} from {}",
            numbers(1, orders)
        ),
        // Late inquiries, due in some days.
        job(1, orders, "'settle_order'", "n", "'background'", "'available'", &format!("{now_ms} + 3600000 + n"), "null, null, null"),
        job(orders + 1, orders + backlog, "'process_callback'", "n + 10000000", "'settle'", "'available'", &format!("{now_ms} - 60000 + n % 50000"), "null, null, null"),
        job(orders + backlog + 1, jobs, "case when n % 2 = 0 then 'create_payment_link' else 'process_callback' end", &format!("n % {orders} + 1"), "'settle'", &format!("case when n % ({jobs} / {UNDER_WAY}) = 0 then 'dead' else 'completed' end"), &finished, &format!("{finished}, null, null")),
        // In progress: enqueued, overdue, running with a lease and running without one.
        job(jobs + 1, jobs + UNDER_WAY, "'settle_order'", &format!("n - {jobs} + {orders}"), "'settle'", "'enqueued'", &format!("{now_ms} + 3600000"), &format!("null, null, {now_ms}")),
        job(jobs + UNDER_WAY + 1, jobs + 2 * UNDER_WAY, "'process_callback'", "n + 20000000", "'settle'", "'enqueued'", &format!("{now_ms} - 1000"), &format!("null, null, {now_ms}")),
        job(jobs + 2 * UNDER_WAY + 1, all_jobs, "'process_callback'", "n + 20000000", "'settle'", "'running'", &format!("{now_ms} + case when n % 2 = 0 then 3600000 else -1000 end"), &format!("null, {TOKEN}, null")),
        // Rows whose retention has run out.
        job(all_jobs + 1, all_jobs + UNDER_WAY, "'process_callback'", "n + 20000000", "'settle'", "case when n % 2 = 0 then 'dead' else 'completed' end", &long_ago, &format!("{long_ago}, null, null")),
        format!(
            "insert into callbacks (id, digest, body, verdict, received_at_ms, last_seen_at_ms)
            select n, 'digest ' || n, 'body', 'badly_signed', {long_ago}, {long_ago} from {}",
            numbers(all_orders + 1, all_orders + UNDER_WAY)
        ),
        format!(
            "insert into idempotency_keys (api_key_name, key, body_digest, order_id, created_at_ms)
            select 'shop', 'key ' || n, 'digest', n, {long_ago} from {}",
            numbers(all_orders + 1, all_orders + UNDER_WAY)
        ),
        // Waiting for a person; the same small number for every size.
        format!(
            "update orders set needs_review = 1, reason = 'the shop asked for it', suggested_act = 'ask_gateway'
            where id > {orders} / 2 and id <= {orders} / 2 + {UNDER_WAY} and status = 'paid'"
        ),
        format!("update id_blocks set next = {}", all_jobs + UNDER_WAY + 1),
    ]
}

/// Further orders of a gateway that begins its transactions by a call: some paid a week ago, each with its transaction
/// `called <number>`, its fiscal receipt, a finding that was settled, and a job with an attempt that failed; and [`UNDER_WAY`]
/// that wait for their customers.
pub(crate) fn called_orders(extent: FillSize, now_ms: i64) -> Vec<String> {
    let (first, paid) = (FIRST_CALLED, extent.called());
    let (gateway, all) = ("'sandbox-payme:64a1'", numbers(1, paid + UNDER_WAY));
    let made =
        format!("(case when n > {paid} then {now_ms} - 600000 else {now_ms} - 755000000 + 254000000 * n / {paid} end)");
    vec![
        format!(
            "insert into orders (id, token, api_key_name, product_name, amount, payment_type, language, status, gateway,
                transaction_id, payment_url, links_made, link_at_ms, expires_at_ms, final_at_ms, created_at_ms,
                pending_since_ms, shop)
            select {first} + n,
                cast(20000000000000000 + n as text) || substr(cast(20000000000000000 + n as text), 3), 'shop', 'Tea',
                5000, 'payme', 'uz', case when n > {paid} then 'pending' else 'paid' end, {gateway},
                case when n <= {paid} then {first} + n end, 'http://gateway/' || n, 1, {made}, {made} + 1800000,
                case when n <= {paid} then {made} + 60000 end, {made}, {made}, 'default' from {all}"
        ),
        format!(
            "insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
            select {first} + n, 1, {made}, null, 'pending', 'the shop asked for it' from {all}"
        ),
        format!(
            "insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms, external_id,
                account, gateway_at_ms, debited_at_ms)
            select {gateway}, {first} + n, {first} + n, 5000, 'debited', {made}, 'called ' || ({first} + n),
                cast({first} + n as text), {made}, {made} + 60000 from {}",
            numbers(1, paid)
        ),
        format!(
            "insert into fiscal_receipts (gateway, transaction_id, kind, data, received_at_ms)
            select {gateway}, {first} + n, 'PERFORM', '{{}}', {made} from {}",
            numbers(1, paid)
        ),
        format!(
            "insert into job_attempts (job_id, number, kind, subject_id, attempt, crashes, ended_at_ms, outcome, error)
            select {first} + n, 1, 'settle_order', {first} + n, 1, 0, {made}, 'failed', 'no answer' from {}",
            numbers(1, paid)
        ),
        format!(
            "insert into review_findings (order_id, number, kind, text, act, found_at_ms, accepted_at_ms)
            select {first} + n, 1, 'unclear_answer', 'it was unclear', 'ask_gateway', {made}, {made} + 1000 from {}",
            numbers(1, paid)
        ),
        format!(
            "insert into jobs (id, queue, kind, subject_id, payload, state, attempt, due_at_ms, created_at_ms)
            select {first} + n, 'background', 'settle_order', {first} + n,
                '{{\"kind\":\"settle_order\",\"order_id\":' || ({first} + n) || '}}', 'available', 0,
                {now_ms} + 3600000 + n, {made} from {all}"
        ),
    ]
}

/// The numbers of a range as a table with one column `n`, in SQL for both databases.
fn numbers(from: i64, to: i64) -> String {
    format!(
        "(with recursive counted(n) as (select cast({from} as bigint) union all select n + 1 from counted where n < {to})
            select n from counted) numbers"
    )
}
