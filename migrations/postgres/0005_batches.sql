-- The ids of the batches that were recorded: one that comes again, after its answer got lost, is not recorded twice. An id is
-- kept for some days, in case the batch is still in the spool of a server that does not know that it was recorded.
create table batches (
    id bytea primary key,
    filed_at timestamptz not null default now(),
    -- The batch was not recorded, and never will be under this id.
    is_cancelled boolean not null default false
);

create index batches_by_age on batches (filed_at);

-- Before, a batch was known by its writer and a number. Only the last one of each writer can still be in doubt; the spool
-- makes the same ids of them.
insert into batches (id, filed_at)
select substring(id from 1 for 8) || int8send(last_batch), wrote_at from writers;

drop table writers;
