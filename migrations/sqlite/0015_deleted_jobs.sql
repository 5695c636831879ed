-- The further contents of a job go with it when somebody deletes it. Before, they stayed, and stood in the way of the same
-- job when it came again.
create trigger delete_contents_of_deleted_job after delete on jobs
begin
    delete from other_deliveries where account = old.account and job = old.msg_id;
end;
