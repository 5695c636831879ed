-- Transaction ids, and with them the numbers of changes, are given out again after a fail-over to a standby that was behind,
-- after a crash, and on another server. So whenever the server has started anew, `base` is lifted above every number that may
-- have been given out. A transaction with an id below `lifted_at` has used `base_before`.
alter table change_numbers
    add column base_before bigint not null default 0,
    add column lifted_at bigint not null default 0;

-- When the server that gives out the numbers was started. The table is unlogged: crash recovery empties it, and it is not
-- part of standbys and base backups. A server that continues from a copy of a data directory has another start.
create unlogged table server_starts (
    started_at timestamptz not null
);

insert into server_starts (started_at) values (pg_postmaster_start_time());

-- Does nothing where the numbers are above all others already. The new ones begin with the seconds since 1970 times 2^29: as
-- time passes, that rises faster than transaction ids are given out, so that it is also above the numbers of a server whose data is lost. Should
-- the clock be behind, they are 2^26 higher than what is known.
create function lift_change_numbers() returns void language plpgsql as $$
declare
    latest bigint;
    own bigint;
begin
    lock table change_numbers in share row exclusive mode;
    select greatest((select max(change) from jobs), (select max(change) from rolled_up), 0) into latest;
    if exists (select from server_starts where started_at = pg_postmaster_start_time())
        and (select base from change_numbers) + pg_snapshot_xmax(pg_current_snapshot())::text::bigint > latest
    then
        return;
    end if;
    own := pg_current_xact_id()::text::bigint;
    update change_numbers set
        base_before = base,
        lifted_at = own,
        base = greatest(
            base + 67108864,
            (least(extract(epoch from clock_timestamp()), 8589934591) * 536870912)::bigint - own,
            latest + 1 - own
        );
    delete from server_starts;
    insert into server_starts (started_at) values (pg_postmaster_start_time());
end
$$;

-- Encrypts the ids of the stream's events. Every replica needs the same.
create table stream_keys (
    key bytea not null check (length(key) = 16)
);

insert into stream_keys (key)
select substring(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) from 1 for 16);

-- For the stream of a client that sees some accounts only.
create index jobs_by_account_and_change on jobs (account, change, shown_id);
