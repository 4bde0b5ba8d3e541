-- A backlog of due jobs lies before the offered and the running ones in `jobs_due`. What was offered long ago, and
-- whose lease ran out, is asked about all the time, and must not walk past it.
create index jobs_enqueued_due on jobs (queue, due_at_ms) where state = 'enqueued';
create index jobs_running on jobs (queue, due_at_ms) where state = 'running';
