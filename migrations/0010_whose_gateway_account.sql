-- Which gateway account a process has: it alone can ask about orders of that account. Null for older releases.
alter table processes add column gateway text;
