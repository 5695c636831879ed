-- What the jobs of all accounts add up to that finished in an hour: to add up a month of them took too long.
--
-- It holds the jobs whose `change` is at most that in `rolled_up`; whoever asks adds the newer ones. So what files a job,
-- with a new number, need not touch it. Servers take the newer ones in from time to time, and a trigger takes out what a
-- job came to that changes or goes. An hour may have several rows, which add up: none is waited for.

create table hour_totals (
    hour timestamptz not null,
    jobs bigint not null,
    sent bigint not null,
    failed bigint not null,
    rejected bigint not null,
    unknown bigint not null,
    total_count numeric not null,
    filter_count numeric not null,
    sent_count numeric not null,
    error_count numeric not null
);

create index hour_totals_by_hour on hour_totals (hour);

create table rolled_up (
    change bigint not null
);

create function correct_hour_totals() returns trigger language plpgsql as $$
declare
    last bigint;
begin
    -- Waits for the end of a roll-up that saw the job as it was.
    select change into last from rolled_up for share;
    insert into hour_totals
    select
        date_trunc('hour', finished_at, 'UTC'),
        weight,
        weight * (outcome = 'sent')::integer,
        weight * (outcome = 'failed')::integer,
        weight * (outcome = 'rejected')::integer,
        weight * (outcome = 'unknown')::integer,
        weight * coalesce(total_count, 0)::numeric,
        weight * coalesce(filter_count, 0)::numeric,
        weight * coalesce(sent_count, 0)::numeric,
        weight * coalesce(error_count, 0)::numeric
    from (values
        (-1, old.change, old.finished_at, old.outcome, old.total_count, old.filter_count, old.sent_count, old.error_count),
        (1, new.change, new.finished_at, new.outcome, new.total_count, new.filter_count, new.sent_count, new.error_count)
    ) as version (weight, change, finished_at, outcome, total_count, filter_count, sent_count, error_count)
    -- After a delete, there is no new one.
    where change <= last;
    return null;
end
$$;

create trigger correct_hour_totals_of_changed_job after update on jobs
    for each row when (
        (old.change, old.finished_at, old.outcome, old.total_count, old.filter_count, old.sent_count, old.error_count)
        is distinct from
        (new.change, new.finished_at, new.outcome, new.total_count, new.filter_count, new.sent_count, new.error_count)
    ) execute function correct_hour_totals();

create trigger correct_hour_totals_of_deleted_job after delete on jobs
    for each row execute function correct_hour_totals();

-- No row tells when all are gone at once.
create function forget_hour_totals() returns trigger language plpgsql as $$
begin
    delete from hour_totals;
    return null;
end
$$;

create trigger forget_hour_totals_of_truncated_jobs after truncate on jobs
    for each statement execute function forget_hour_totals();

-- To have made the triggers locks out whoever changes jobs. What is under way has a number that is not below this one.
insert into rolled_up (change)
select base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1 from change_numbers;

insert into hour_totals
select
    date_trunc('hour', finished_at, 'UTC'),
    count(*),
    count(*) filter (where outcome = 'sent'),
    count(*) filter (where outcome = 'failed'),
    count(*) filter (where outcome = 'rejected'),
    count(*) filter (where outcome = 'unknown'),
    coalesce(sum(total_count), 0),
    coalesce(sum(filter_count), 0),
    coalesce(sum(sent_count), 0),
    coalesce(sum(error_count), 0)
from jobs
where change <= (select change from rolled_up)
group by 1;
