-- Where our pages send a customer who does not pay, as the shop asked for it with the order. Null where the shop named no such
-- address, as in every order of an older release, which neither reads nor writes this column: its pages lead to `return_url`.
alter table orders add column cancel_url text;
