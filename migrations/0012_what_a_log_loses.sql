-- Why a process's log lines are lost, in a sentence for people; null while they are written.
alter table processes add column log_fault text;
