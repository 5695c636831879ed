-- What the jobs of all accounts add up to that finished in an hour: to add up a month of them took too long.
--
-- It holds the jobs whose `change` is at most that in `rolled_up`; whoever asks adds the newer ones. So what files a job,
-- with a new number, need not touch it. The server takes the newer ones in from time to time, and triggers take out what a
-- job came to that changes or goes. An hour may have several rows, which add up. Counts come in halves, as a sum that
-- overflows is an error: the upper, in units of 2^32, and the lower.

create table hour_totals (
    hour integer not null,
    jobs integer not null,
    sent integer not null,
    failed integer not null,
    rejected integer not null,
    unknown integer not null,
    total_high integer not null,
    total_low integer not null,
    filter_high integer not null,
    filter_low integer not null,
    sent_high integer not null,
    sent_low integer not null,
    error_high integer not null,
    error_low integer not null
) strict;

create index hour_totals_by_hour on hour_totals (hour);

create table rolled_up (
    change integer not null
) strict;

create trigger correct_hour_totals_of_changed_job after update on jobs
when (old.change, old.finished_at, old.outcome, old.total_count, old.filter_count, old.sent_count, old.error_count)
    is not (new.change, new.finished_at, new.outcome, new.total_count, new.filter_count, new.sent_count, new.error_count)
begin
    insert into hour_totals
    select
        finished_at - (finished_at % 3600000 + 3600000) % 3600000,
        weight,
        weight * (outcome = 'sent'),
        weight * (outcome = 'failed'),
        weight * (outcome = 'rejected'),
        weight * (outcome = 'unknown'),
        weight * coalesce(total_count >> 32, 0),
        weight * coalesce(total_count & 4294967295, 0),
        weight * coalesce(filter_count >> 32, 0),
        weight * coalesce(filter_count & 4294967295, 0),
        weight * coalesce(sent_count >> 32, 0),
        weight * coalesce(sent_count & 4294967295, 0),
        weight * coalesce(error_count >> 32, 0),
        weight * coalesce(error_count & 4294967295, 0)
    from (
        select -1 as weight, old.change as change, old.finished_at as finished_at, old.outcome as outcome,
            old.total_count as total_count, old.filter_count as filter_count, old.sent_count as sent_count,
            old.error_count as error_count
        union all
        select 1, new.change, new.finished_at, new.outcome, new.total_count, new.filter_count, new.sent_count,
            new.error_count
    )
    where change <= (select change from rolled_up);
end;

create trigger correct_hour_totals_of_deleted_job after delete on jobs
when old.change <= (select change from rolled_up)
begin
    insert into hour_totals values (
        old.finished_at - (old.finished_at % 3600000 + 3600000) % 3600000,
        -1,
        -(old.outcome = 'sent'),
        -(old.outcome = 'failed'),
        -(old.outcome = 'rejected'),
        -(old.outcome = 'unknown'),
        -coalesce(old.total_count >> 32, 0),
        -coalesce(old.total_count & 4294967295, 0),
        -coalesce(old.filter_count >> 32, 0),
        -coalesce(old.filter_count & 4294967295, 0),
        -coalesce(old.sent_count >> 32, 0),
        -coalesce(old.sent_count & 4294967295, 0),
        -coalesce(old.error_count >> 32, 0),
        -coalesce(old.error_count & 4294967295, 0)
    );
end;

insert into rolled_up (change)
select last from delivery_ids;

insert into hour_totals
select
    finished_at - (finished_at % 3600000 + 3600000) % 3600000 as hour,
    count(*),
    count(*) filter (where outcome = 'sent'),
    count(*) filter (where outcome = 'failed'),
    count(*) filter (where outcome = 'rejected'),
    count(*) filter (where outcome = 'unknown'),
    coalesce(sum(total_count >> 32), 0),
    coalesce(sum(total_count & 4294967295), 0),
    coalesce(sum(filter_count >> 32), 0),
    coalesce(sum(filter_count & 4294967295), 0),
    coalesce(sum(sent_count >> 32), 0),
    coalesce(sum(sent_count & 4294967295), 0),
    coalesce(sum(error_count >> 32), 0),
    coalesce(sum(error_count & 4294967295), 0)
from jobs
group by hour;
