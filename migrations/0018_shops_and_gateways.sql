-- Many shops, and gateways whose transaction is born in their own call to us.

-- The shop that an order belongs to. A release without shops has the one shop `default`.
alter table orders add column shop text not null default 'default';

-- Until when a debit of the allowed transaction may still come. Null in rows of a release without it: then ten minutes after
-- `last_allowed_at_ms`.
alter table orders add column allowed_until_ms bigint;

-- The gateway's own id of the transaction, where our number is not the gateway's. Null for Atmos.
alter table transactions add column external_id text;

-- The `account` of the gateway's call, as it came.
alter table transactions add column account text;

-- When the gateway says it began the transaction, by the gateway's clock.
alter table transactions add column gateway_at_ms bigint;

-- When the gateway told us of its debit.
alter table transactions add column debited_at_ms bigint;

-- When the gateway told us that it is closed or its money went back, and with which code of its own.
alter table transactions add column closed_at_ms bigint;
alter table transactions add column close_code bigint;

create unique index transactions_external on transactions (gateway, external_id) where external_id is not null;
create index transactions_by_gateway_time on transactions (gateway, gateway_at_ms) where gateway_at_ms is not null;

-- Our own numbers of transactions, where the gateway's are no numbers.
insert into id_blocks (name, next) values ('transactions', 1);

-- The gateway account that a callback was for. Null for rows of a release that had one account.
alter table callbacks add column gateway text;
