-- A reference is unique in its shop.

-- 1: the reference is unique among the orders of its shop. Null: the row was made by a release in which it was unique among the
-- orders of its API key, so that another order of the shop may have the same one.
alter table orders add column reference_is_of_shop bigint;

-- Unique where `reference_is_of_shop` is 1, as null is never the same as null; and the index by which a reference is found in
-- its shop, whichever release wrote it.
create unique index orders_reference_of_shop on orders (shop, reference, reference_is_of_shop) where reference is not null;
