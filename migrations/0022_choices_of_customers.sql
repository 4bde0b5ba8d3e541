-- How often the customer has chosen the account through which the order is paid, on our page. Null where the shop named the
-- account, as every order of an older release. While nothing is chosen, `gateway` is empty: no account has this identity, so a
-- release before this column leaves such an order to the others, as it does with every account that it does not have. Its
-- `payment_type` says `atmos` then, because that release must read a payment type there; it is no choice.
alter table orders add column choices bigint;
