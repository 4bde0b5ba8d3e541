-- When a look began that showed no money on any draft of the order, some seconds after the last sign of a payment: what
-- the customer of a declined card may be told. It counts only while it is newer than every hint and allowed callback.
alter table orders add column seen_unpaid_at_ms bigint;
-- When a look began that showed the draft behind the payment link closed: its page takes no card any more.
alter table orders add column seen_closed_at_ms bigint;
