-- The admission of gateway calls as each process sees it, JSON: rate limit in force, circuit breaker, Retry-After. For
-- `tasdiq gateways show`. It takes the place of `weather`, which a running older release writes and reads: a process of this
-- release writes both, and reads `weather` where this one is null.
alter table processes add column admission text;
