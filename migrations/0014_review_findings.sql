-- What a person must know about an order, one row per finding. Until no older release runs, orders.reason and
-- orders.suggested_act hold the open ones in one sentence, too; what an older release writes there becomes rows when it is
-- next read for a decision, when this migration has run, and at each sweep.
create table review_findings (
    order_id bigint not null references orders (id),
    -- within the order, from 1
    number bigint not null,
    kind text not null,
    -- the gateway's transaction, where it is about one
    transaction_id bigint,
    -- the job that died, or the refund
    subject_id bigint,
    -- for people; no rule reads it
    text text not null,
    act text not null,
    found_at_ms bigint not null,
    -- since when it is settled: by a person, or because what was not known is known; null while a person must look
    accepted_at_ms bigint,
    primary key (order_id, number)
);

create index review_findings_open on review_findings (order_id, number) where accepted_at_ms is null;
