-- When each client of the API has last used its key, to the minute.
create table client_uses (
    client text primary key,
    last_used_at integer not null
) strict;
