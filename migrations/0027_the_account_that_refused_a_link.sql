-- The account whose gateway finally refused to make a payment link for the order after its customer had chosen it. The customer
-- chooses another one, and cannot choose this one again. Null where no account did. A release before this column makes such an
-- order `failed`.
alter table orders add column refused_gateway text;
