-- What was received while PostgreSQL could not take it, on its way there. Times are milliseconds since 1970.

-- The writer in whose name units are filed that were never sent before.
create table spool (
    writer blob not null
) strict;

insert into spool (writer) values (randomblob(16));

create table spooled (
    id integer primary key autoincrement,
    -- The ticket of the unit that this is a part of, null while it is part of none: units are filed whole, and once.
    writer blob,
    number integer,
    account text not null,
    body blob not null,
    body_sha256 blob not null,
    received_at integer not null,
    -- Why PostgreSQL refuses it for ever; null while it waits.
    refusal text,
    check ((writer is null) = (number is null))
) strict;

create index spooled_units on spooled (writer, number) where refusal is null;
create index spooled_waiting on spooled (received_at) where refusal is null;
create index spooled_refused on spooled (id) where refusal is not null;
