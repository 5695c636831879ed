-- With what a list of changed jobs is filtered and ordered by, so that only the rows of its page are read.
drop index jobs_by_update;
create index jobs_by_update on jobs (updated_at, account, finished_at, msg_id);
