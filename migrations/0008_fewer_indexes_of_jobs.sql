-- All open rows by their time, which the indexes of what waits, was offered and runs have instead; and the beginning of
-- one of those. By itself, for a transaction that makes an index and drops another can wait in a circle with a writer.
drop index jobs_due;
drop index jobs_enqueued;
