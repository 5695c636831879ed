-- What WeChat pushed, raw, and what it adds up to per job. Table, column and view names are public: people query them.

create table deliveries (
    id bigint generated always as identity primary key,
    account text collate "C" not null,
    -- SHA-256 of body: the same bytes again count in `times`.
    body_sha256 bytea not null,
    body bytea not null,
    state text not null check (state in ('stored', 'unparsed')),
    event text collate "C",
    msg_id bigint,
    error text,
    -- CreateTime; set exactly when the delivery is a job result that was understood.
    finished_at timestamptz,
    received_at timestamptz not null,
    last_received_at timestamptz not null,
    times bigint not null check (times >= 1),
    unique (account, body_sha256)
);

create index deliveries_by_time on deliveries (received_at, id);
create index deliveries_unparsed on deliveries (received_at, id) where state = 'unparsed';
create index deliveries_by_job on deliveries (account, msg_id, received_at, id) where finished_at is not null;

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
    primary key (account, msg_id)
);

create index jobs_by_finish on jobs (finished_at, account, msg_id);
create index jobs_by_account on jobs (account, finished_at, msg_id);

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
