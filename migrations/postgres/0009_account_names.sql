-- The WeChat account that each account stands for: `original_id` where it is configured, else the `ToUserName` of the first
-- result received.
create table account_names (
    account text collate "C" primary key,
    name text not null,
    -- Another `ToUserName` that results came with, and when the latest of them came.
    other_name text,
    other_received_at timestamptz
);

-- The excluded names are those of made-up results: of `qunfa simulate`, and of `qunfa doctor`.
insert into account_names (account, name)
select account, to_user_name from (
    select account, to_user_name,
        row_number() over (partition by account order by first_received_at, shown_id) as place
    from jobs where to_user_name not in ('', 'gh_0a1b2c3d4e5f', 'gh_doctor')
) as named where place = 1;

update account_names set (other_name, other_received_at) = (
    select to_user_name, last_received_at from jobs
    where jobs.account = account_names.account and to_user_name not in ('', 'gh_0a1b2c3d4e5f', 'gh_doctor', account_names.name)
    order by last_received_at desc limit 1
);
