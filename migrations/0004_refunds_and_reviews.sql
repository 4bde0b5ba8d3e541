-- Refunds are rows before they are calls: a row's money is reserved at its order, and whether the call may have been sent
-- stands here, so that none is ever sent twice.
create table refunds (
    id bigint primary key,
    order_id bigint not null references orders (id),
    amount bigint not null check (amount > 0),
    -- open: to be sent, or its outcome to be seen; review: the outcome is unknown, and a person must say;
    -- done: the money went back; refused: the gateway finally said no, and the reserve was given back
    state text not null check (state in ('open', 'review', 'done', 'refused')),
    -- the transaction that paid, and the gateway's permanent id of its debit, which a reversal names
    transaction_id bigint not null,
    success_transaction_id bigint not null,
    -- who asked: the name of an API key, or of an operator
    requested_by text not null,
    reason text,
    -- from when on the gateway may have it; a run that finds it set never sends
    sent_at_ms bigint,
    -- the gateway's final no, until a look has shown that the money is where it was
    refused_code text,
    -- why it was refused, or what is not known of it
    outcome text,
    created_at_ms bigint not null,
    finished_at_ms bigint
);

insert into id_blocks (name, next) values ('refunds', 1);

-- one refund of an order at a time
create unique index refunds_open on refunds (order_id) where state in ('open', 'review');
create index refunds_order on refunds (order_id, id);

-- what refunds have taken of the amount, the finished ones included
alter table orders add column refund_reserved bigint not null default 0;
update orders set refund_reserved = refunded_amount where refunded_amount > 0;

-- the refund that a request with this key made; null where it made an order
alter table idempotency_keys add column refund_id bigint;

-- what a person who looks at an order in review may do about it
alter table orders add column suggested_act text;
-- a person's word that this transaction is the payment; the next look writes paid if the gateway shows it as debited
alter table orders add column resolution_transaction_id bigint;
alter table orders add column resolution_by text;
alter table orders add column resolution_reason text;

-- the amount in tiyin that the gateway named when it showed the debit
alter table transactions add column seen_amount bigint;
-- since when a person knows of this debit, or of an answer that cannot be read, and leaves it as it is: no look tells of
-- it again
alter table transactions add column accepted_at_ms bigint;
