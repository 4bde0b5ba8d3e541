-- What waits, what was offered and what runs has an index each, so that each write of a job's row goes into few.
create index jobs_available on jobs (queue, due_at_ms) where state = 'available';
