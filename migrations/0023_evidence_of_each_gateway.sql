-- How much of what proves nothing was kept, by the day's beginning (UTC) and by the gateway whose webhook it came to: `atmos`,
-- `payme` or `click`. Anybody can send such bodies, and those to one webhook leave the room for another's alone. An older
-- release counts all of them in `unproven_days`, which this one does not read.
create table unproven_of_gateways (
    day_ms bigint not null,
    gateway text not null,
    bodies bigint not null,
    bytes bigint not null,
    primary key (day_ms, gateway)
);
