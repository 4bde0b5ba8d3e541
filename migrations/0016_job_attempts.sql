-- Who runs a job, and since when, written by its claim: what is left of a worker that dies. Null where an older release
-- has claimed it.
alter table jobs add column worker_host text;
alter table jobs add column worker_pid bigint;
alter table jobs add column began_at_ms bigint;
-- An attempt that failed, was aborted at its deadline, or ended with its worker. One that went well leaves its effect.
create table job_attempts (
    job_id bigint not null,
    -- within the job, from 1; of each job the newest few stay
    number bigint not null,
    kind text not null,
    subject_id bigint not null,
    -- as the job counted them, this one included
    attempt bigint not null,
    crashes bigint not null,
    worker_host text,
    worker_pid bigint,
    began_at_ms bigint,
    ended_at_ms bigint not null,
    outcome text not null check (outcome in ('failed', 'aborted', 'crashed')),
    error text not null,
    primary key (job_id, number)
);
create index job_attempts_ended on job_attempts (ended_at_ms);
