-- What pgbench writes into: the main columns of a job and the body, in one row.
drop table if exists single_row;
create table single_row (
    account text not null,
    msg_id bigint not null,
    outcome text not null,
    status text,
    total_count bigint,
    filter_count bigint,
    sent_count bigint,
    error_count bigint,
    finished_at timestamptz not null,
    received_at timestamptz not null,
    deliveries bigint not null,
    body bytea not null,
    primary key (account, msg_id)
);
