-- A database that has lost commits gives no number out twice: its counters jump. How often each has, and when last; and on
-- which history of the server it was last taken from, '' where that is not known.
alter table id_blocks add column jumps bigint not null default 0;
alter table id_blocks add column jumped_at_ms bigint;
alter table id_blocks add column history text not null default '';
