-- What WeChat pushed, raw, and what it adds up to per job. Table, column and view names are public: people query them.

create sequence delivery_ids;

-- Changes of jobs are numbered by transaction, so that all below the oldest that is still under way are known for good.
-- `base` lifts the numbers above those of a server that this database was moved from.
create table change_numbers (
    base bigint not null
);

insert into change_numbers (base) values (0);

create function next_change() returns bigint language sql stable
as 'select base + pg_current_xact_id()::text::bigint from change_numbers';

-- A job, and the delivery whose content it shows. Nearly every job has one content alone, so that a job result is one row.
create table jobs (
    account text collate "C" not null,
    msg_id bigint not null check (msg_id >= 1),
    outcome text not null check (outcome in ('sent', 'failed', 'rejected', 'unknown')),
    status text,
    code integer,
    total_count bigint,
    filter_count bigint,
    sent_count bigint,
    error_count bigint,
    check_state bigint,
    copyright_count bigint,
    article_url_count bigint,
    articles jsonb not null,
    to_user_name text,
    from_user_name text,
    finished_at timestamptz not null,
    first_received_at timestamptz not null,
    last_received_at timestamptz not null,
    updated_at timestamptz not null,
    deliveries bigint not null,
    revision bigint not null,
    -- The number of its latest change; 0 when it was copied here.
    change bigint not null default 0,
    shown_id bigint not null,
    shown_event text collate "C" not null,
    shown_error text,
    -- Null once it was pruned.
    shown_body bytea,
    -- SHA-256 of the body: the same bytes again are one more copy.
    shown_sha256 bytea not null,
    shown_received_at timestamptz not null,
    shown_last_received_at timestamptz not null,
    shown_times bigint not null check (shown_times >= 1),
    -- In this order it finds an id in all accounts, too.
    primary key (msg_id, account)
) with (
    -- A row of usual size stays whole and is not compressed, which would take longer than all else.
    toast_tuple_target = 8160,
    -- Totals by index need pages that were vacuumed; the usual fifth of a table would be years.
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 50000
);

-- With what totals add up, so that these need not read the rows.
create index jobs_by_finish on jobs (finished_at, account, msg_id) include (
    outcome, code, total_count, filter_count, sent_count, error_count
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
    id bigint primary key default nextval('delivery_ids'),
    account text collate "C" not null,
    body_sha256 bytea not null,
    body bytea not null,
    state text not null check (state in ('stored', 'unparsed')),
    event text collate "C",
    msg_id bigint,
    error text,
    -- CreateTime; set exactly when the delivery is a job result that was understood.
    finished_at timestamptz,
    -- The job that it counts in; 0: in none.
    job bigint not null generated always as (case when finished_at is null then 0 else msg_id end) stored,
    received_at timestamptz not null,
    last_received_at timestamptz not null,
    times bigint not null check (times >= 1),
    unique (account, body_sha256, job)
);

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
    id bytea primary key,
    last_batch bigint not null,
    wrote_at timestamptz not null
);

create view job_articles as
select
    jobs.account,
    jobs.msg_id,
    jobs.finished_at,
    article.idx,
    article.url,
    (article.copyright ->> 'user_declare_state')::bigint as user_declare_state,
    (article.copyright ->> 'audit_state')::bigint as audit_state,
    article.copyright ->> 'original_url' as original_url,
    (article.copyright ->> 'original_type')::bigint as original_type,
    (article.copyright ->> 'can_reprint')::boolean as can_reprint,
    (article.copyright ->> 'need_replace_content')::boolean as need_replace_content,
    (article.copyright ->> 'need_show_reprint_source')::boolean as need_show_reprint_source
from jobs
cross join lateral jsonb_to_recordset(jobs.articles) as article (idx bigint, url text, copyright jsonb);
