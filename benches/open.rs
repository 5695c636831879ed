//! Opening a push: verifying, decrypting and parsing it, as a whole and in parts.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use qunfa::domain::{Reading, Time};
use qunfa::simulator::Sender;
use qunfa::wechat::{self, Account, AppId, EncodingAesKey, Encryption, Mode, Query, Token};

/// An event with both result lists, of two articles each.
const FULL: &str = include_str!("../src/simulator/samples/full.xml");
const JSON: &str = include_str!("full.json");

fn open(criterion: &mut Criterion) {
    let encryption = Encryption {
        app_id: AppId::new("wx0123456789abcdef").expect("it is an AppID"),
        key: EncodingAesKey::new("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
            .expect("it is an EncodingAESKey"),
        previous_key: None,
    };
    for mode in [Mode::Plain, Mode::Safe(encryption)] {
        let name = format!("open {}", mode.as_str());
        let sender = Sender {
            token: Token::new("benchmarkbenchmark").expect("it is a token"),
            mode,
        };
        let now = Time::now();
        let push = sender
            .sign(FULL.as_bytes(), now)
            .expect("the system gives random bytes");
        let account = Account {
            name: "bench".parse().expect("it is a name"),
            mode: sender.mode,
            token: sender.token,
            previous_token: None,
            original_id: None,
            keep_events: Vec::new(),
        };
        let open = |body| account.open(&Query::parse(&push.query), body, now, 600);
        let opened = open(push.body.clone()).expect("it is authentic");
        assert!(matches!(opened.reading, Reading::Result { .. }), "{name}");
        criterion.bench_function(&name, |bencher| {
            bencher.iter_batched(|| push.body.clone(), open, BatchSize::SmallInput);
        });
    }
}

fn read(criterion: &mut Criterion) {
    for (name, body) in [("read xml", FULL), ("read json", JSON)] {
        let read = || wechat::read(body.as_bytes());
        assert!(matches!(read().reading, Reading::Result { .. }), "{name}");
        criterion.bench_function(name, |bencher| bencher.iter(read));
    }
}

criterion_group!(benches, open, read);
criterion_main!(benches);
