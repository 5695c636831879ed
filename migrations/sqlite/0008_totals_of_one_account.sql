-- With what totals add up, as jobs_by_finish has it: totals of one account need not read the rows.
drop index jobs_by_account;
create index jobs_by_account on jobs (
    account, finished_at, msg_id, outcome, code, total_count, filter_count, sent_count, error_count
);
