use super::*;

fn delivery(account: &str, reading: Reading) -> NewDelivery {
    NewDelivery {
        account: account.parse().unwrap(),
        body: Vec::new(),
        body_sha256: [0; 32],
        received_at: Time::from_create_time(7).unwrap(),
        recorded_at: Time::from_create_time(7).unwrap(),
        reading,
    }
}

fn other(event: Option<&str>) -> Reading {
    Reading::Other {
        event: event.map(str::to_owned),
        msg_id: None,
    }
}

fn unparsed(event: Option<&str>) -> Reading {
    Reading::Unparsed {
        event: event.map(str::to_owned),
        msg_id: None,
        error: String::new(),
    }
}

fn sealed() -> Reading {
    Reading::Sealed {
        error: String::new(),
    }
}

/// Counts a push to `main` and one to an unknown account; returns what was counted as (event,
/// result, count).
fn counted(
    keep_events: &[&str],
    reading: &Reading,
    accepted: Result<Accepted, IngestError>,
) -> Vec<(String, String, u64)> {
    let kept = keep_events.iter().map(|&event| event.to_owned()).collect();
    let accounts = HashMap::from([("main".parse().unwrap(), kept)]);
    let counters = Counters::new(&accounts, &Registry::new());
    for account in ["main", "unknown"] {
        let delivery = delivery(account, reading.clone());
        counters.push(&delivery).ends(accepted);
    }
    let families = counters.pushes.collect();
    let metrics = families.iter().flat_map(MetricFamily::get_metric);
    metrics
        .filter(|metric| value(metric) > 0)
        .map(|metric| {
            let label = |name| label(metric, name).to_owned();
            (label("event"), label("result"), value(metric))
        })
        .collect()
}

#[test]
fn an_event_is_counted_by_a_name_that_is_known_and_nothing_else_from_outside() {
    for (keep_events, reading, event) in [
        (&[][..], other(Some("subscribe")), "subscribe"),
        (&[], other(Some("VIEW")), "VIEW"),
        (&[], other(Some("view")), "VIEW"),
        (&[], other(Some("\"hostile\n")), "other"),
        (&["None", "view"], other(Some("none")), "other"),
        (&["card_pass"], other(Some("CARD_PASS")), "card_pass"),
        (&[], other(None), "none"),
        (&[], unparsed(Some("scan")), "SCAN"),
        (&[], unparsed(Some("hostile")), "other"),
        (&["platform"], other(Some("platform")), "other"),
        (&[], Reading::Platform, "platform"),
    ] {
        let counted = counted(keep_events, &reading, Ok(Accepted::Ignored));
        assert_eq!(counted, [(event.to_owned(), "not_kept".to_owned(), 1)]);
    }
}

#[test]
fn every_push_counts_once_by_its_result() {
    let new = Ok(Accepted::Recorded(Recorded::New));
    let duplicate = Ok(Accepted::Recorded(Recorded::Duplicate));
    let spooled = Ok(Accepted::Spooled);
    let full = Err(IngestError::Full);
    for (reading, accepted, event, result) in [
        (other(Some("VIEW")), new, "VIEW", "kept"),
        (other(Some("VIEW")), duplicate, "VIEW", "duplicate"),
        (other(Some("VIEW")), spooled, "VIEW", "spooled"),
        (other(Some("VIEW")), full, "VIEW", "failed"),
        (unparsed(None), new, "none", "unparsed"),
        (unparsed(Some("VIEW")), new, "none", "unparsed"),
        (
            unparsed(Some("MassSendJobFinish")),
            spooled,
            "MASSSENDJOBFINISH",
            "unparsed",
        ),
        (unparsed(None), duplicate, "none", "duplicate"),
        (sealed(), new, "none", "sealed"),
        (sealed(), spooled, "none", "sealed"),
        (sealed(), duplicate, "none", "duplicate"),
    ] {
        let counted = counted(&[], &reading, accepted);
        assert_eq!(counted, [(event.to_owned(), result.to_owned(), 1)]);
    }
}
