-- The fiscal receipts of transactions, as a gateway tells us of them (Payme documents, SetFiscalData): at most one of the
-- payment and one of the refund. `data` is the gateway's JSON as it came. A later one with the same kind takes its place: the
-- fiscal operator may have failed the first time.
create table fiscal_receipts (
    gateway text not null,
    transaction_id bigint not null,
    kind text not null,
    data text not null,
    received_at_ms bigint not null,
    primary key (gateway, transaction_id, kind)
);
