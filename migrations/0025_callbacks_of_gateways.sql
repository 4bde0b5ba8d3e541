-- The newest callbacks to each gateway: `tasdiq doctor` looks at those of one although another's are many more.
create index callbacks_gateway on callbacks (gateway, received_at_ms, id);
