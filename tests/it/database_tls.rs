//! TLS to PostgreSQL: what each `sslmode` protects from, and the messages if the server is the
//! wrong one.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use url::Url;

use crate::support::cluster::Cluster;
use crate::support::database::cluster_url;
use crate::support::workplace::{Ended, Workplace};
use crate::support::{Database, Event, SAFE, Setup};

/// A certificate authority for a test.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(parameters, key);
        Self { pem, issuer }
    }

    /// A certificate for a host or user, and its key.
    fn issue(&self, name: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        [certificate.pem(), key.serialize_pem()]
    }

    /// A cluster that only accepts TLS connections, with a certificate for `localhost`, and
    /// authenticates users with that method of `pg_hba.conf`.
    async fn cluster(&self, method: &str) -> Cluster {
        let mut cluster = Cluster::create();
        let [certificate, key] = self.issue("localhost");
        cluster.write("server.crt", &certificate);
        cluster.write("server.key", &key);
        cluster.write("ca.crt", &self.pem);
        cluster.write("pg_hba.conf", &format!("hostssl all all all {method}\n"));
        cluster.set("ssl", "on");
        cluster.set("ssl_ca_file", "ca.crt");
        cluster.restart().await;
        cluster
    }
}

/// The URL with that host and these parameters.
fn with(url: &str, host: &str, parameters: &str) -> String {
    let mut url: Url = url.parse().unwrap();
    url.set_host(Some(host)).unwrap();
    url.set_query(Some(parameters));
    url.to_string()
}

fn migrate(place: &Workplace, url: &str) -> Ended {
    place.run_with(&[("QUNFA_STORE__URL", url)], &["migrate"])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_modes_check_what_they_say() {
    let place = Workplace::new();
    let [ours, other] = ["ours", "another"].map(Authority::new);
    let [ca, other_ca] = [("ca.pem", &ours), ("other.pem", &other)]
        .map(|(name, authority)| place.write(name, &authority.pem).display().to_string());
    let cluster = ours.cluster("trust").await;
    let url = cluster.url();

    for (host, parameters) in [
        ("127.0.0.1", "sslmode=prefer".to_owned()),
        ("127.0.0.1", "sslmode=require".to_owned()),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}")),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={ca}")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}")),
    ] {
        migrate(&place, &with(&url, host, &parameters)).with_code(0);
    }

    for (host, parameters, problem) in [
        ("127.0.0.1", "sslmode=disable".to_owned(), "no encryption"),
        (
            "127.0.0.1",
            format!("sslmode=verify-full&sslrootcert={ca}"),
            "not valid for name",
        ),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={other_ca}"),
            "UnknownIssuer",
        ),
        (
            "localhost",
            format!("sslmode=verify-ca&sslrootcert={other_ca}"),
            "UnknownIssuer",
        ),
        (
            "localhost",
            "sslmode=verify-full".to_owned(),
            "UnknownIssuer",
        ),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=nowhere.pem".to_owned(),
            "nowhere.pem",
        ),
    ] {
        let ended = migrate(&place, &with(&url, host, &parameters)).with_code(1);
        assert!(ended.talk.contains(problem), "{parameters}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_are_kept_over_tls() {
    let authority = Authority::new("ours");
    let cluster = authority.cluster("trust").await;
    let url = with(&cluster.url(), "localhost", "sslmode=require");
    let mut database = Database::on(&url).await;
    let ca = database.directory().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let parameters = format!("sslmode=verify-full&sslrootcert={}", ca.display());
    database.url = with(&database.url, "localhost", &parameters);
    let server = Setup::default().start_on(database);
    server.accepts(&SAFE, Event::new(7, 10).xml()).await;
    assert_eq!(server.job(&SAFE, "7").await["deliveries"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impostor_gets_nothing_and_pushes_are_spooled() {
    let [ours, impostors] = ["ours", "the impostor's"].map(Authority::new);
    let cluster = impostors.cluster("trust").await;
    let url = with(&cluster.url(), "localhost", "sslmode=require");
    let mut database = Database::on(&url).await;
    let ca = database.directory().join("ca.pem");
    std::fs::write(&ca, &ours.pem).unwrap();
    let parameters = format!("sslmode=verify-full&sslrootcert={}", ca.display());
    database.url = with(&database.url, "localhost", &parameters);
    let server = Setup::default().start_on(database);
    assert!(server.log().contains("UnknownIssuer"), "{}", server.log());
    server.accepts(&SAFE, Event::new(7, 10).xml()).await;
    assert_eq!(server.ok("/readyz").await["status"], "degraded");
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_required() {
    let place = Workplace::new();
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = with(&cluster_url(), "127.0.0.1", &format!("sslmode={mode}"));
        let ended = migrate(&place, &url).with_code(1);
        assert!(ended.talk.contains("does not support TLS"), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_stands_in_for_a_password() {
    let place = Workplace::new();
    let authority = Authority::new("ours");
    let cluster = authority.cluster("cert").await;
    let [certificate, key] = authority.issue("postgres");
    let [ca, certificate, key] = [
        ("ca.pem", &authority.pem),
        ("user.pem", &certificate),
        ("user.key", &key),
    ]
    .map(|(name, text)| place.write(name, text).display().to_string());
    let checked = format!("sslmode=verify-full&sslrootcert={ca}");
    let known = format!("{checked}&sslcert={certificate}&sslkey={key}");
    let ended = migrate(&place, &with(&cluster.url(), "localhost", &checked)).with_code(1);
    assert!(ended.talk.contains("valid client certificate"), "{ended:?}");
    migrate(&place, &with(&cluster.url(), "localhost", &known)).with_code(0);
}
