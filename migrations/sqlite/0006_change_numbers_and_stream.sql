-- Encrypts the ids of the stream's events.
create table stream_keys (
    key blob not null check (length(key) = 16)
) strict;

insert into stream_keys (key) values (randomblob(16));

-- For the stream of a client that sees some accounts only.
create index jobs_by_account_and_change on jobs (account, change, shown_id);
