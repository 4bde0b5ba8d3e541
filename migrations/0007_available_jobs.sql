-- A job row is written three or four times in its life, each time into every index that has it. What waits, what was
-- offered and what runs has an index each; one of them all is one too many, and so is one that is the beginning of another.
create index jobs_available on jobs (queue, due_at_ms) where state = 'available';
drop index jobs_due;
drop index jobs_enqueued;
