-- Envelopes that WeChat has signed but that the account's key, AppID or original id does not open: kept until it does.

-- SQLite changes no check of a table that is there: a new one takes its place.
drop view deliveries;

create table new_other_deliveries (
    id integer primary key,
    account text not null,
    body_sha256 blob not null,
    body blob not null,
    state text not null check (state in ('stored', 'unparsed', 'sealed')),
    event text,
    msg_id integer,
    error text,
    -- CreateTime; set exactly when the delivery is a job result that was understood.
    finished_at integer,
    -- The job that it counts in; 0: in none.
    job integer not null generated always as (case when finished_at is null then 0 else msg_id end) stored,
    received_at integer not null,
    last_received_at integer not null,
    times integer not null check (times >= 1),
    unique (account, body_sha256, job)
) strict;

insert into new_other_deliveries
    (id, account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times)
select id, account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times
from other_deliveries;

drop table other_deliveries;
alter table new_other_deliveries rename to other_deliveries;

create index other_deliveries_by_receipt on other_deliveries (received_at, id);
create index other_deliveries_by_account on other_deliveries (account, received_at, id);
create index other_deliveries_unparsed on other_deliveries (received_at, id) where state = 'unparsed';
create index other_deliveries_sealed on other_deliveries (account, received_at, id) where state = 'sealed';
create index other_deliveries_by_job on other_deliveries (account, job) where job > 0;

-- Every kept delivery.
create view deliveries as
select id, account, body_sha256, body, state, event, msg_id, error, finished_at, received_at, last_received_at, times
from other_deliveries
union all
select
    shown_id, account, shown_sha256, shown_body, 'stored', shown_event, msg_id, shown_error, finished_at,
    shown_received_at, shown_last_received_at, shown_times
from jobs
where shown_body is not null;

-- How much is sealed in each account, so that its limit is cheap to enforce. Triggers keep it.
create table sealed_totals (
    account text primary key,
    deliveries integer not null,
    -- Of their bodies.
    bytes integer not null,
    -- Deliveries that were deleted because there were too many.
    dropped integer not null default 0
) strict;

create trigger count_sealed_when_inserted after insert on other_deliveries when new.state = 'sealed'
begin
    insert into sealed_totals (account, deliveries, bytes) values (new.account, 1, length(new.body))
    on conflict (account) do update set deliveries = deliveries + 1, bytes = bytes + excluded.bytes;
end;

create trigger count_sealed_when_deleted after delete on other_deliveries when old.state = 'sealed'
begin
    update sealed_totals set deliveries = deliveries - 1, bytes = bytes - length(old.body) where account = old.account;
end;

create trigger count_sealed_when_changed after update of account, body, state on other_deliveries
when old.state = 'sealed' or new.state = 'sealed'
begin
    update sealed_totals set deliveries = deliveries - 1, bytes = bytes - length(old.body)
    where account = old.account and old.state = 'sealed';
    insert into sealed_totals (account, deliveries, bytes)
    select new.account, 1, length(new.body) where new.state = 'sealed'
    on conflict (account) do update set deliveries = deliveries + 1, bytes = bytes + excluded.bytes;
end;
