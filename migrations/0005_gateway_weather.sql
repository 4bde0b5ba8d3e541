-- The weather at the gateway as each process sees it, JSON: budget in force, breaker, patience. For `tasdiq weather show`.
-- (What an operator says about it stands in `installation`.)
alter table processes add column weather text;
