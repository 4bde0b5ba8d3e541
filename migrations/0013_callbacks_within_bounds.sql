-- What anybody can send is kept within bounds that all processes share, and a callback that comes again and again is a
-- reason to ask the gateway less and less often.

-- When it was last a reason to ask; null in rows of an earlier release.
alter table callbacks add column hinted_at_ms bigint;

-- Bodies that prove nothing go sooner than the others, and must be found among them.
create index callbacks_unproven on callbacks (received_at_ms) where verdict in ('unreadable', 'badly_signed');

-- How much of what proves nothing was kept, by the day's beginning (UTC).
create table unproven_days (
    day_ms bigint primary key,
    bodies bigint not null,
    bytes bigint not null
);
