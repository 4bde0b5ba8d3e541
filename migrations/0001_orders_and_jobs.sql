-- Portable between SQLite and PostgreSQL: text and bigint only, times in epoch milliseconds, money in tiyin,
-- truth values as 0 and 1.

-- What this installation is: `database_id` names its keys in Redis.
create table installation (
    name text primary key,
    value text not null
);

-- The next free number of each noun; processes take numbers in blocks.
create table id_blocks (
    name text primary key,
    next bigint not null
);

insert into id_blocks (name, next) values ('orders', 1), ('jobs', 1), ('callbacks', 1);

create table orders (
    id bigint primary key,
    token text not null unique,
    -- '' where no API keys are configured
    api_key_name text not null,
    reference text,
    product_name text not null,
    amount bigint not null check (amount > 0),
    payment_type text not null,
    return_url text,
    language text not null,
    status text not null check (
        status in ('pending', 'confirming', 'paid', 'refunded', 'expired', 'canceled', 'failed', 'review')
    ),
    -- which gateway account moves the money; no other is ever asked about this order
    gateway text not null,
    -- the draft behind the present payment link; once paid, the transaction that paid
    transaction_id bigint,
    payment_url text,
    links_made bigint not null default 0,
    -- the one draft that may debit
    allowed_transaction_id bigint,
    last_allowed_at_ms bigint,
    last_hint_at_ms bigint,
    -- the customer's return page may hint only so often
    last_return_hint_at_ms bigint,
    return_hints bigint not null default 0,
    link_at_ms bigint,
    expires_at_ms bigint,
    final_at_ms bigint,
    refunded_amount bigint not null default 0 check (refunded_amount between 0 and amount),
    needs_review bigint not null default 0,
    reason text,
    created_at_ms bigint not null,
    -- since when it waits for a payment link; an operator's retry begins anew
    pending_since_ms bigint not null
);

create unique index orders_reference on orders (api_key_name, reference) where reference is not null;
-- what sweep restores, and what /metrics counts: only orders that are still on their way
create index orders_open on orders (status, id) where status in ('pending', 'confirming', 'review');
create index orders_needing_review on orders (id) where needs_review = 1;
create index orders_final on orders (final_at_ms) where final_at_ms is not null;

-- append-only
create table order_history (
    order_id bigint not null references orders (id),
    number bigint not null,
    at_ms bigint not null,
    from_status text,
    to_status text not null,
    cause text not null,
    primary key (order_id, number)
);

-- Every draft and payment the gateway made for us, also those no customer ever saw.
create table transactions (
    gateway text not null,
    transaction_id bigint not null,
    order_id bigint not null references orders (id),
    amount bigint not null,
    state text not null check (state in ('open', 'closed', 'debited', 'reversed')),
    success_transaction_id bigint,
    created_at_ms bigint not null,
    looked_at_ms bigint,
    primary key (gateway, transaction_id)
);

create index transactions_order on transactions (order_id);

-- What the gateway asked, byte for byte, and what we answered.
create table callbacks (
    id bigint primary key,
    -- SHA-256 of the body, hex: a repeated body is counted, not kept again
    digest text not null,
    body text not null,
    verdict text not null,
    order_id bigint,
    transaction_id bigint,
    seen_count bigint not null default 1,
    received_at_ms bigint not null,
    last_seen_at_ms bigint not null
);

create unique index callbacks_digest on callbacks (digest, verdict);
create index callbacks_order on callbacks (order_id) where order_id is not null;
create index callbacks_received on callbacks (received_at_ms);

-- A job row is the outbox: written in the transaction of its cause. `due_at_ms` says when somebody must look
-- at the row again, in whatever state: available, to run it; enqueued, to offer it again; running, its lease ended.
create table jobs (
    id bigint primary key,
    queue text not null,
    kind text not null,
    subject_id bigint not null,
    payload text not null,
    state text not null check (state in ('available', 'enqueued', 'running', 'completed', 'canceled', 'dead')),
    attempt bigint not null default 0,
    crashes bigint not null default 0,
    wakes bigint not null default 0,
    lease_token bigint,
    due_at_ms bigint not null,
    -- since when an enqueued row waits for a worker, however often its id was offered
    waiting_since_ms bigint,
    last_error text,
    trace_context text,
    created_at_ms bigint not null,
    finished_at_ms bigint
);

create unique index jobs_open on jobs (kind, subject_id) where state in ('available', 'enqueued', 'running');
create index jobs_due on jobs (queue, due_at_ms) where state in ('available', 'enqueued', 'running');
create index jobs_enqueued on jobs (queue) where state = 'enqueued';
create index jobs_finished on jobs (finished_at_ms) where state in ('completed', 'canceled');
create index jobs_dead on jobs (finished_at_ms) where state = 'dead';
create index jobs_subject on jobs (subject_id, kind);

create table idempotency_keys (
    api_key_name text not null,
    key text not null,
    -- SHA-256 of the request's body, hex
    body_digest text not null,
    order_id bigint not null,
    created_at_ms bigint not null,
    primary key (api_key_name, key)
);

create index idempotency_keys_created on idempotency_keys (created_at_ms);

-- Who is alive, for those who scale.
create table processes (
    id text primary key,
    role text not null,
    version text not null,
    slots bigint not null,
    queues text not null,
    -- the random value of the Redis this process uses; two values among the living mean two Redis servers
    twin text,
    started_at_ms bigint not null,
    heartbeat_at_ms bigint not null
);

create index processes_heartbeat on processes (heartbeat_at_ms);
