\set number :number + 1
\set msg_id :number * 64 + :client_id
insert into single_row values ('main', :msg_id, 'sent', 'send success', 1200, 1150, 1148, 2, '2026-01-01T00:03:20Z', '2026-01-01T00:03:21Z', 1, :body) on conflict (account, msg_id) do update set deliveries = single_row.deliveries + 1, received_at = excluded.received_at;
