-- The further contents of a job go with it when somebody deletes it. Before, they stayed, and stood in the way of the same
-- job when it came again.
create function delete_contents() returns trigger language plpgsql as $$
begin
    delete from other_deliveries where account = old.account and job = old.msg_id;
    return null;
end
$$;

create trigger delete_contents_of_deleted_job after delete on jobs
    for each row execute function delete_contents();

create function delete_all_contents() returns trigger language plpgsql as $$
begin
    delete from other_deliveries where job > 0;
    return null;
end
$$;

create trigger delete_contents_of_truncated_jobs after truncate on jobs
    for each statement execute function delete_all_contents();
