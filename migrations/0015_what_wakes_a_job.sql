-- The numbers of what woke a job since it last took all of them up, separated by spaces: a look checks the signatures of
-- these callbacks again. Null for most jobs, and where an older release has staged one.
alter table jobs add column woken_by text;
