-- Lists of orders, newest first, in each shop: by time alone, by status, by amount, and those that are marked for a person.
-- A page begins where the one before ended, at the time and number of an order.
create index orders_by_time on orders (shop, created_at_ms, id);
create index orders_by_status on orders (shop, status, created_at_ms, id);
create index orders_by_amount on orders (shop, amount, created_at_ms, id);
create index orders_marked on orders (shop, created_at_ms, id) where needs_review = 1;

-- An order by the gateway's permanent number of its debit.
create index transactions_success on transactions (success_transaction_id) where success_transaction_id is not null;
