-- A batch is known by a random id instead of a writer and a number.

create table spooled_in_batches (
    id integer primary key autoincrement,
    -- The batch that this is a part of, null until it is first sent: a batch is recorded whole, and once.
    batch blob,
    account text not null,
    body blob not null,
    body_sha256 blob not null,
    received_at integer not null,
    -- How often its batch has failed though the database worked.
    failures integer not null default 0,
    -- Why PostgreSQL refuses it for ever; null while it waits.
    refusal text
) strict;

-- The ids that the database's own migration makes of the batches in doubt.
insert into spooled_in_batches (id, batch, account, body, body_sha256, received_at, refusal)
select id, cast(substr(writer, 1, 8) || unhex(printf('%016x', number)) as blob), account, body, body_sha256, received_at, refusal
from spooled;

drop table spooled;
drop table spool;
alter table spooled_in_batches rename to spooled;

create index spooled_by_batch on spooled (batch) where refusal is null;
create index spooled_in_turn on spooled (failures, id) where refusal is null;
create index spooled_waiting on spooled (received_at) where refusal is null;
create index spooled_refused on spooled (id) where refusal is not null;
