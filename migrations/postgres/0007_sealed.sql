-- Envelopes that WeChat has signed but that the account's key, AppID or original id does not open: kept until it does.

alter table other_deliveries drop constraint other_deliveries_state_check;
alter table other_deliveries add constraint other_deliveries_state_check
    check (state in ('stored', 'unparsed', 'sealed'));

create index other_deliveries_sealed on other_deliveries (account, received_at, id) where state = 'sealed';

-- How much is sealed in each account, so that its limit is cheap to enforce. Triggers keep it.
create table sealed_totals (
    account text collate "C" primary key,
    deliveries bigint not null,
    -- Of their bodies.
    bytes bigint not null,
    -- Deliveries that were deleted because there were too many.
    dropped bigint not null default 0
);

create function count_sealed() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' then
        if old.state = 'sealed' then
            update sealed_totals set deliveries = deliveries - 1, bytes = bytes - length(old.body)
            where account = old.account;
        end if;
    end if;
    if tg_op <> 'DELETE' then
        if new.state = 'sealed' then
            insert into sealed_totals (account, deliveries, bytes) values (new.account, 1, length(new.body))
            on conflict (account) do update set
                deliveries = sealed_totals.deliveries + 1,
                bytes = sealed_totals.bytes + excluded.bytes;
        end if;
    end if;
    return null;
end
$$;

create trigger count_sealed_when_inserted after insert on other_deliveries
    for each row when (new.state = 'sealed') execute function count_sealed();

create trigger count_sealed_when_changed after update of account, body, state on other_deliveries
    for each row when (old.state = 'sealed' or new.state = 'sealed') execute function count_sealed();

create trigger count_sealed_when_deleted after delete on other_deliveries
    for each row when (old.state = 'sealed') execute function count_sealed();

create function forget_sealed_totals() returns trigger language plpgsql as $$
begin
    update sealed_totals set deliveries = 0, bytes = 0;
    return null;
end
$$;

create trigger forget_sealed_totals_when_truncated after truncate on other_deliveries
    for each statement execute function forget_sealed_totals();
