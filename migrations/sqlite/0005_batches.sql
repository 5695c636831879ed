-- The ids of the batches that were recorded: one that comes again, after its answer got lost, is not recorded twice.
create table batches (
    id blob primary key,
    filed_at integer not null default (cast(unixepoch('subsec') * 1000 as integer)),
    -- The batch was not recorded, and never will be under this id.
    is_cancelled integer not null default 0
) strict;

create index batches_by_age on batches (filed_at);

drop table writers;
