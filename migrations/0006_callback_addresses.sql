-- Where a callback came from: what an operator needs to know before a list of addresses may refuse anything.
alter table callbacks add column address text;
