-- What WeChat pushed, raw, and what it adds up to per job. Table, column and view names are public: people query them.
-- Times are milliseconds since 1970.

-- They number the changes of jobs, too.
create table delivery_ids (
    last integer not null
) strict;

insert into delivery_ids (last) values (0);

-- A job, and the delivery whose content it shows. Nearly every job has one content alone, so that a job result is one row.
create table jobs (
    account text not null,
    msg_id integer not null check (msg_id >= 1),
    outcome text not null check (outcome in ('sent', 'failed', 'rejected', 'unknown')),
    status text,
    code integer,
    total_count integer,
    filter_count integer,
    sent_count integer,
    error_count integer,
    check_state integer,
    copyright_count integer,
    article_url_count integer,
    articles text not null,
    to_user_name text,
    from_user_name text,
    finished_at integer not null,
    first_received_at integer not null,
    last_received_at integer not null,
    updated_at integer not null,
    deliveries integer not null,
    revision integer not null,
    -- The number of its latest change; 0 when it was copied here.
    change integer not null default 0,
    shown_id integer not null,
    shown_event text not null,
    shown_error text,
    -- Null once it was pruned.
    shown_body blob,
    -- SHA-256 of the body: the same bytes again are one more copy.
    shown_sha256 blob not null,
    shown_received_at integer not null,
    shown_last_received_at integer not null,
    shown_times integer not null check (shown_times >= 1),
    -- In this order it finds an id in all accounts, too.
    primary key (msg_id, account)
) strict;

-- With what totals add up, so that these need not read the rows.
create index jobs_by_finish on jobs (
    finished_at, account, msg_id, outcome, code, total_count, filter_count, sent_count, error_count
);
create index jobs_by_account on jobs (account, finished_at, msg_id);
create index jobs_by_update on jobs (updated_at);
create index jobs_by_change on jobs (change, shown_id);
-- Those that are rare; the sent ones are soon found in the order of the list.
create index jobs_by_outcome on jobs (outcome, finished_at, account, msg_id) where outcome <> 'sent';
create index jobs_by_account_and_outcome on jobs (account, outcome, finished_at, msg_id) where outcome <> 'sent';
create index jobs_by_code on jobs (code, finished_at, account, msg_id) where code is not null;
create index jobs_by_check_state on jobs (check_state, finished_at, account, msg_id) where check_state is not null;
create index jobs_by_receipt on jobs (shown_received_at, shown_id) where shown_body is not null;
create index jobs_by_account_and_receipt on jobs (account, shown_received_at, shown_id) where shown_body is not null;

-- Deliveries that no job shows: older or later contents of a job, what was not understood, and other events that are kept.
create table other_deliveries (
    id integer primary key,
    account text not null,
    body_sha256 blob not null,
    body blob not null,
    state text not null check (state in ('stored', 'unparsed')),
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

create index other_deliveries_by_receipt on other_deliveries (received_at, id);
create index other_deliveries_by_account on other_deliveries (account, received_at, id);
create index other_deliveries_unparsed on other_deliveries (received_at, id) where state = 'unparsed';
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

-- The last batch that each writer has filed: one that comes again, after an answer got lost, is not filed twice.
create table writers (
    id blob primary key,
    last_batch integer not null,
    wrote_at integer not null
) strict;

create view job_articles as
select
    jobs.account,
    jobs.msg_id,
    jobs.finished_at,
    article.value ->> '$.idx' as idx,
    article.value ->> '$.url' as url,
    article.value ->> '$.copyright.user_declare_state' as user_declare_state,
    article.value ->> '$.copyright.audit_state' as audit_state,
    article.value ->> '$.copyright.original_url' as original_url,
    article.value ->> '$.copyright.original_type' as original_type,
    article.value ->> '$.copyright.can_reprint' as can_reprint,
    article.value ->> '$.copyright.need_replace_content' as need_replace_content,
    article.value ->> '$.copyright.need_show_reprint_source' as need_show_reprint_source
from jobs, json_each(jobs.articles) as article;
