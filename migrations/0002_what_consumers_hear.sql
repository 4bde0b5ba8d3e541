-- When the consumer of a process last heard from its queue, or had no question open: a worker that hears nothing looks
-- from outside like one with nothing to do. Null where nobody takes jobs.
alter table processes add column queue_heard_at_ms bigint;
