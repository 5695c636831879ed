-- Why the account's configuration does not open it; null where the body is a message and no envelope.
alter table spooled add column sealed text;
