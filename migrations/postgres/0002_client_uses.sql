-- When each client of the API has last used its key, to the minute.
create table client_uses (
    client text collate "C" primary key,
    last_used_at timestamptz not null
);
