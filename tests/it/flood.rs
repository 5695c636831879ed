//! Floods of bodies and of forged requests: memory is bounded, nothing comes of them, and honest pushes get through.

use std::time::Duration;

use crate::support::process::resident_mib;
use crate::support::wire::Wire;
use crate::support::{Backend, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_bodies_give_way_before_they_fill_the_memory() {
    let setup = Setup::default().toml("[server]\nbody_limit = 1048576");
    let server = setup.start(Backend::Sqlite).await;
    let at_rest = resident_mib(server.pid());
    let head = "POST /wechat/safe HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n";
    let most = format!("{head}{}", "x".repeat(1_000_000));
    let mut wires = Vec::new();
    let mut peak = 0;
    let mut slowest = Duration::ZERO;
    for _ in 0..40 {
        for _ in 0..5 {
            let mut wire = Wire::connect(server.address).await;
            wire.try_send(&most).await;
            wires.push(wire);
        }
        slowest = slowest.max(server.accepts_quickly().await);
        peak = peak.max(resident_mib(server.pid()));
    }
    let grown = peak - at_rest;
    println!(
        "200 MB of half-sent bodies: {at_rest} MiB at rest, {grown} MiB more, pushes in {slowest:?}"
    );
    assert!(grown < 80, "{grown} MiB");
    for wire in &mut wires {
        let answer = wire.reply().await.unwrap();
        assert_eq!((answer.status, &*answer.body), (408, "body too slow"));
    }
    assert_eq!(server.items("/api/v1/deliveries").await.len(), 1);
}
