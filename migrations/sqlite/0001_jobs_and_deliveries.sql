-- What WeChat pushed, raw, and what it adds up to per job. Table, column and view names are public: people query them.
-- Times are milliseconds since 1970.

create table deliveries (
    id integer primary key autoincrement,
    account text not null,
    -- SHA-256 of body: the same bytes again count in `times`.
    body_sha256 blob not null,
    body blob not null,
    state text not null check (state in ('stored', 'unparsed')),
    event text,
    msg_id integer,
    error text,
    -- CreateTime; set exactly when the delivery is a job result that was understood.
    finished_at integer,
    received_at integer not null,
    last_received_at integer not null,
    times integer not null check (times >= 1),
    unique (account, body_sha256)
) strict;

create index deliveries_by_time on deliveries (received_at, id);
create index deliveries_unparsed on deliveries (received_at, id) where state = 'unparsed';
create index deliveries_by_job on deliveries (account, msg_id, received_at, id) where finished_at is not null;

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
    primary key (account, msg_id)
) strict, without rowid;

create index jobs_by_finish on jobs (finished_at, account, msg_id);
create index jobs_by_account on jobs (account, finished_at, msg_id);

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
