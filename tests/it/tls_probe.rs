//! Certificates of servers: facts and verdict, of good chains and of bad ones.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, SerialNumber, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use url::Url;
use valmis::client::{ClientCertificate, SecretSource};
use valmis::model::Sample;
use valmis::probe::ProbeOutcome;
use valmis::probe::certificate::{SERVED_METADATA, ServedCertificateConfig, TlsProber};
use valmis::probe::http::{HttpConfig, HttpProber, METADATA};

use valmis::probe::tls::TlsConfig;

use crate::servers::{
    Authority, HttpsServer, Identity, NOW_SECONDS, answer, assert_well_formed, clock, listen, params, probe,
    probe_within, read_head, value, write,
};

/// The name by which the servers are addressed.
const NAME: &str = "app.example";

/// 2026-12-31, when the certificates of servers end, and the same of other years.
const END_OF_2026: f64 = 1_798_675_200.0;
const END_OF_2027: f64 = 1_830_211_200.0;
const END_OF_2025: f64 = 1_767_139_200.0;

/// An authority below another, and a folder with the root's certificate.
struct World {
    root: Authority,
    intermediate: Authority,
    folder: TempDir,
    ca_file: PathBuf,
}

impl World {
    fn new() -> Self {
        let root = Authority::root("root", 2030);
        let intermediate = root.intermediate("intermediate", 2027);
        let folder = tempfile::tempdir().unwrap();
        let ca_file = write(folder.path(), "ca.pem", &root.pem);
        Self { root, intermediate, folder, ca_file }
    }

    /// A server's certificate from the intermediate authority, sent with that authority's.
    fn identity(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = params(NAME, &[NAME, "other.example"]);
        params.serial_number = Some(SerialNumber::from(0x00ab_cdef_u64));
        change(&mut params);
        self.intermediate.sign(&params).and(&self.intermediate.der)
    }

    fn tls(&self) -> TlsConfig {
        TlsConfig {
            ca: Some(SecretSource::File(self.ca_file.clone())),
            server_name: Some(NAME.to_owned()),
            ..TlsConfig::default()
        }
    }
}

async fn ask_tls(server: &HttpsServer, tls: &TlsConfig) -> ProbeOutcome {
    let mut config = ServedCertificateConfig::parse(&server.address.to_string()).unwrap();
    config.tls = tls.clone();
    let outcome = probe(&TlsProber::new(config, clock())).await;
    assert_well_formed(&outcome, SERVED_METADATA);
    outcome
}

async fn ask_https(server: &HttpsServer, tls: &TlsConfig) -> ProbeOutcome {
    let mut config = HttpConfig::new(Url::parse(&format!("https://{}/", server.address)).unwrap());
    config.tls = tls.clone();
    let outcome = probe(&HttpProber::new(config, clock()).unwrap()).await;
    assert_well_formed(&outcome, METADATA);
    outcome
}

/// The reasons that verification found, sorted.
fn reasons(outcome: &ProbeOutcome) -> Vec<String> {
    let found =
        |sample: &&Sample| sample.labels.metric_name() == "valmis_tls_verify_result" && sample.value == 1.0;
    let mut reasons: Vec<_> =
        outcome.samples.iter().filter(found).map(|sample| sample.labels.get("reason").to_owned()).collect();
    reasons.sort_unstable();
    reasons
}

fn kind(outcome: &ProbeOutcome) -> Option<&'static str> {
    outcome.result.as_ref().err().map(|failure| failure.kind)
}

/// Checks both probes against a server with these certificates: which reasons they report, that the
/// facts are there all the same, and that nothing is sent to a server that failed.
async fn check(case: &str, identity: Identity, tls: TlsConfig, expected: &[&str], chain_end: Option<f64>) {
    let ok = expected == ["ok"];
    let certificates = identity.chain.len();
    let server = HttpsServer::start(identity.server_config()).await;
    for outcome in [ask_tls(&server, &tls).await, ask_https(&server, &tls).await] {
        assert_eq!(reasons(&outcome), expected, "{case}: {:?}", outcome.result);
        assert_eq!(kind(&outcome), (!ok).then_some("certificate"), "{case}: {:?}", outcome.result);
        assert_eq!(value(&outcome, "probe_success", &[]), Some(f64::from(u8::from(ok))), "{case}");
        assert!(value(&outcome, "probe_ssl_earliest_cert_expiry", &[]).is_some(), "{case}");
        assert_eq!(value(&outcome, "probe_ssl_last_chain_info", &[]), Some(1.0), "{case}");
        assert_eq!(value(&outcome, "probe_tls_version_info", &[("version", "TLS 1.3")]), Some(1.0), "{case}");
        let end = value(&outcome, "probe_ssl_last_chain_expiry_timestamp_seconds", &[]);
        assert_eq!(end, chain_end, "{case}");
    }
    assert_eq!(server.requests(), usize::from(ok), "{case}");
    let outcome = ask_tls(&server, &tls).await;
    for position in 0..certificates {
        let position = position.to_string();
        let labels = [("chain_position", position.as_str())];
        assert!(value(&outcome, "x509_cert_not_after", &labels).is_some(), "{case}");
    }

    // Who does not insist gets the same verdict, and goes on.
    let lenient = TlsConfig { insecure_skip_verify: true, ..tls };
    let outcome = ask_https(&server, &lenient).await;
    assert_eq!(reasons(&outcome), expected, "{case}");
    assert_eq!(outcome.result, Ok(()), "{case}");
    assert_eq!(value(&outcome, "probe_http_status_code", &[]), Some(200.0), "{case}");
    assert_eq!(server.requests(), usize::from(ok) + 1, "{case}");
}

#[tokio::test]
async fn a_good_chain_is_ok_and_ends_with_its_first_certificate_to_end() {
    let world = World::new();
    check("leaf ends first", world.identity(|_| {}), world.tls(), &["ok"], Some(END_OF_2026)).await;
    let long = world.identity(|params| params.not_after = date_time_ymd(2040, 1, 1));
    check("intermediate ends first", long, world.tls(), &["ok"], Some(END_OF_2027)).await;
    let direct = world.root.sign(&params(NAME, &[NAME]));
    check("no intermediate", direct, world.tls(), &["ok"], Some(END_OF_2026)).await;
    let noisy = world.identity(|_| {}).and(&Authority::root("stranger", 2030).der);
    check("a stranger in the chain", noisy, world.tls(), &["ok"], Some(END_OF_2026)).await;
}

#[tokio::test]
async fn each_fault_of_a_certificate_is_named() {
    let world = World::new();
    let expired = world.identity(|params| {
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2025, 12, 31);
    });
    check("expired", expired, world.tls(), &["expired"], None).await;
    let early = world.identity(|params| params.not_before = date_time_ymd(2026, 7, 1));
    check("not yet valid", early, world.tls(), &["not_yet_valid"], None).await;
    let wrong = TlsConfig { server_name: Some("wrong.example".to_owned()), ..world.tls() };
    check("wrong name", world.identity(|_| {}), wrong, &["name_mismatch"], Some(END_OF_2026)).await;
    let address = TlsConfig { server_name: None, ..world.tls() };
    check("address", world.identity(|_| {}), address, &["name_mismatch"], Some(END_OF_2026)).await;
    let stranger = Authority::root("stranger", 2030).sign(&params(NAME, &[NAME]));
    check("unknown authority", stranger, world.tls(), &["unknown_issuer"], None).await;
    let incomplete = world.intermediate.sign(&params(NAME, &[NAME]));
    check("intermediate missing", incomplete, world.tls(), &["unknown_issuer"], None).await;
    let own = Identity::self_signed(&params(NAME, &[NAME]));
    check("self-signed", own, world.tls(), &["self_signed"], None).await;
    let impostor = Authority::root("root", 2030).sign(&params(NAME, &[NAME]));
    check("signed by another key", impostor, world.tls(), &["bad_signature"], None).await;
    let ca = world.identity(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    check("an authority as server", ca, world.tls(), &["other"], None).await;
}

#[tokio::test]
async fn all_faults_are_reported_not_only_the_first() {
    let world = World::new();
    let past = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2025, 12, 31);
    };
    let wrong = TlsConfig { server_name: Some("wrong.example".to_owned()), ..world.tls() };
    let mut bad = params(NAME, &[NAME]);
    past(&mut bad);
    let stranger = Authority::root("stranger", 2030);
    let all = ["expired", "name_mismatch", "unknown_issuer"];
    check("all three", stranger.sign(&bad), wrong.clone(), &all, None).await;
    let own = Identity::self_signed(&bad);
    check("self-signed", own, wrong.clone(), &["expired", "name_mismatch", "self_signed"], None).await;
    check("dates and name", world.identity(past), wrong, &["expired", "name_mismatch"], None).await;
}

/// Shows a certificate whose key it does not have.
#[derive(Debug)]
struct Thief(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Thief {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[tokio::test]
async fn a_server_without_the_certificates_key_gets_no_request() {
    let world = World::new();
    let (stolen, own) = (world.identity(|_| {}), world.identity(|_| {}));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key.serialize_der()));
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let thief = Arc::new(Thief(Arc::new(rustls::sign::CertifiedKey::new(stolen.chain, key))));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(thief.clone());
        let server = HttpsServer::start(config).await;
        let outcome = ask_https(&server, &world.tls()).await;
        assert_eq!(
            (reasons(&outcome), kind(&outcome)),
            (vec!["bad_signature".to_owned()], Some("certificate"))
        );
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn an_expired_intermediate_counts_as_expired() {
    let world = World::new();
    let old = world.root.intermediate("old", 2025);
    let mut early = params(NAME, &[NAME]);
    early.not_before = date_time_ymd(2025, 6, 1);
    let identity = old.sign(&early).and(&old.der);
    check("expired intermediate", identity, world.tls(), &["expired"], None).await;
    // A leaf that began after its issuer's end was never valid together with it.
    let identity = old.sign(&params(NAME, &[NAME])).and(&old.der);
    check("never valid together", identity, world.tls(), &["expired"], None).await;
    let stranger = Authority::root("stranger", 2030).intermediate("below", 2025);
    let identity = stranger.sign(&params(NAME, &[NAME])).and(&stranger.der);
    check("unknown too, never valid together", identity, world.tls(), &["expired", "unknown_issuer"], None)
        .await;
}

// As Go does it; certificates from `openssl req -x509` are of this kind. Blackbox exporter's
// `TestSucceedIfSelfSignedCA`.
#[tokio::test]
async fn a_certificate_in_the_ca_file_is_trusted_itself() {
    let world = World::new();
    for (kind, is_ca) in [("leaf", IsCa::NoCa), ("ca", IsCa::Ca(BasicConstraints::Unconstrained))] {
        let trusting = |what: &str, pem: &str| {
            let file = write(world.folder.path(), &format!("{what}-{kind}.pem"), pem);
            TlsConfig { ca: Some(SecretSource::File(file)), ..world.tls() }
        };
        let mut params = params(NAME, &[NAME]);
        params.is_ca = is_ca;
        let identity = Identity::self_signed(&params);
        let tls = trusting("own", &identity.pem);
        check("trusted itself", identity, tls, &["ok"], Some(END_OF_2026)).await;
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2025, 12, 31);
        let identity = Identity::self_signed(&params);
        let tls = trusting("expired", &identity.pem);
        check("but expired", identity, tls, &["expired"], None).await;
    }
}

#[tokio::test]
async fn the_chain_that_ends_last_counts() {
    let world = World::new();
    // The same authority, signed by a root that ends soon and by one that does not.
    let old_root = Authority::root("old root", 2026);
    let (key, params_of_ca) = {
        let mut params = params("shared", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(2029, 12, 31);
        (rcgen::KeyPair::generate().unwrap(), params)
    };
    let by_old = params_of_ca.signed_by(&key, &old_root.issuer).unwrap();
    let by_new = params_of_ca.signed_by(&key, &world.root.issuer).unwrap();
    let shared = rcgen::Issuer::new(params_of_ca, key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = params(NAME, &[NAME]);
    leaf.not_after = date_time_ymd(2027, 12, 31);
    let leaf = leaf.signed_by(&leaf_key, &shared).unwrap();
    let identity = || Identity {
        chain: vec![leaf.der().clone(), by_old.der().clone(), by_new.der().clone()],
        pem: leaf.pem(),
        key: rcgen::KeyPair::from_pem(&leaf_key.serialize_pem()).unwrap(),
    };
    let trusting = |name: &str, roots: &[&Authority]| {
        let pems: Vec<&str> = roots.iter().map(|root| root.pem.as_str()).collect();
        TlsConfig {
            ca: Some(SecretSource::File(write(world.folder.path(), name, pems.concat()))),
            ..world.tls()
        }
    };
    let both = trusting("both.pem", &[&old_root, &world.root]);
    check("both roots", identity(), both, &["ok"], Some(END_OF_2027)).await;
    let old = trusting("old.pem", &[&old_root]);
    check("old root", identity(), old, &["ok"], Some(END_OF_2026)).await;
}

#[tokio::test]
async fn the_facts_of_a_chain_bear_the_names_that_dashboards_expect() {
    let world = World::new();
    let server = HttpsServer::start(world.identity(|_| {}).server_config()).await;
    let outcome = ask_tls(&server, &world.tls()).await;
    let info = outcome
        .samples
        .iter()
        .find(|sample| sample.labels.metric_name() == "probe_ssl_last_chain_info")
        .unwrap();
    assert_eq!(info.labels.get("fingerprint_sha256").len(), 64);
    for (label, expected) in [
        ("subject", "CN=app.example"),
        ("issuer", "CN=intermediate"),
        ("subjectalternative", "app.example,other.example"),
        ("serialnumber", "abcdef"),
    ] {
        assert_eq!(info.labels.get(label), expected, "{label}");
    }
    let leaf = [
        ("chain_position", "0"),
        ("subject_CN", "app.example"),
        ("issuer_CN", "intermediate"),
        ("serial_number", "11259375"),
    ];
    assert_eq!(value(&outcome, "x509_cert_not_after", &leaf), Some(END_OF_2026));
    assert_eq!(value(&outcome, "x509_cert_not_before", &leaf), Some(1_767_225_600.0));
    assert_eq!(value(&outcome, "x509_cert_expired", &leaf), Some(0.0));
    let above = [("chain_position", "1"), ("subject_CN", "intermediate"), ("issuer_CN", "root")];
    assert_eq!(value(&outcome, "x509_cert_not_after", &above), Some(END_OF_2027));
    assert_eq!(value(&outcome, "probe_ssl_earliest_cert_expiry", &[]), Some(END_OF_2026));
    let cipher = outcome.samples.iter().find(|s| s.labels.metric_name() == "probe_tls_cipher_info").unwrap();
    assert!(cipher.labels.get("cipher").starts_with("TLS_AES_"), "{}", cipher.labels);
}

#[tokio::test]
async fn an_expired_certificate_stays_visible() {
    let world = World::new();
    let expired = world.identity(|params| {
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2025, 12, 31);
    });
    let server = HttpsServer::start(expired.server_config()).await;
    let outcome = ask_tls(&server, &world.tls()).await;
    let labels = [("subject_CN", NAME)];
    assert_eq!(value(&outcome, "probe_ssl_earliest_cert_expiry", &[]), Some(END_OF_2025));
    assert_eq!(value(&outcome, "x509_cert_expired", &labels), Some(1.0));
    let verified = [("chain_no", "0"), ("cn", NAME)];
    assert_eq!(value(&outcome, "ssl_verified_cert_not_after", &verified), Some(END_OF_2025));
    assert_eq!(value(&outcome, "probe_ssl_last_chain_expiry_timestamp_seconds", &[]), None);
    let ago = NOW_SECONDS - END_OF_2025 as i64;
    let reason = outcome.result.unwrap_err().reason;
    assert_eq!(
        reason,
        format!(
            "the certificate of `app.example` is not acceptable: expired {ago} s ago, at 2025-12-31T00:00:00Z"
        )
    );
    let outcome = ask_https(&server, &world.tls()).await;
    assert_eq!(value(&outcome, "probe_http_ssl", &[]), Some(1.0));
    assert_eq!(value(&outcome, "probe_http_status_code", &[]), Some(0.0));
}

#[tokio::test]
async fn a_server_with_tls_1_2_only_is_described() {
    let world = World::new();
    let identity = world.identity(|_| {});
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain, key)
        .unwrap();
    let server = HttpsServer::start(config).await;
    let outcome = ask_https(&server, &world.tls()).await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(value(&outcome, "probe_tls_version_info", &[("version", "TLS 1.2")]), Some(1.0));
    let cipher = outcome.samples.iter().find(|s| s.labels.metric_name() == "probe_tls_cipher_info").unwrap();
    assert!(cipher.labels.get("cipher").starts_with("TLS_ECDHE_ECDSA_WITH_"), "{}", cipher.labels);
    let phase = |name| value(&outcome, "probe_http_duration_seconds", &[("phase", name)]).unwrap();
    assert!(phase("tls") > 0.0 && phase("connect") > 0.0);
}

#[tokio::test]
async fn without_a_handshake_there_are_no_facts() {
    let hung = listen(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let plain = listen(|mut stream| async move {
        read_head(&mut stream).await;
        answer(&mut stream, "HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let talkative =
        listen(|mut stream| async move { answer(&mut stream, "220 mail.example ESMTP\r\n").await }).await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let short = Duration::from_millis(300);
    for (address, expected, allowed) in [
        (hung, "timeout", short),
        (plain, "timeout", short),
        (talkative, "tls", Duration::from_secs(20)),
        (closed, "connect", Duration::from_secs(20)),
    ] {
        let started = Instant::now();
        let config = ServedCertificateConfig::parse(&address.to_string()).unwrap();
        let outcome = probe_within(&TlsProber::new(config, clock()), allowed).await;
        assert_eq!(kind(&outcome), Some(expected), "{:?}", outcome.result);
        assert_eq!(value(&outcome, "probe_success", &[]), Some(0.0));
        let facts = ["probe_ssl_", "x509_", "probe_tls_", "valmis_tls_"];
        let invented = outcome
            .samples
            .iter()
            .find(|sample| facts.iter().any(|prefix| sample.labels.metric_name().starts_with(prefix)));
        assert_eq!(invented, None);
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn the_host_of_a_url_is_the_name_that_is_verified() {
    let world = World::new();
    let local = world.identity(|params| {
        params.subject_alt_names =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
                .unwrap()
                .subject_alt_names;
    });
    let server = HttpsServer::start(local.server_config()).await;
    let port = server.address.port();
    for (host, header, expected) in [
        ("localhost", None, "ok"),
        ("127.0.0.1", None, "ok"),
        ("localhost", Some("b.example:1"), "name_mismatch"),
    ] {
        let mut config = HttpConfig::new(Url::parse(&format!("https://{host}:{port}/")).unwrap());
        config.tls.ca = Some(SecretSource::File(world.ca_file.clone()));
        if let Some(header) = header {
            config.headers.insert("host", header.parse().unwrap());
        }
        let outcome = probe(&HttpProber::new(config, clock()).unwrap()).await;
        assert_eq!(reasons(&outcome), [expected], "{host} {header:?} {:?}", outcome.log);
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_is_verified_by_that_hosts_name() {
    let world = World::new();
    let local = world.identity(|params| {
        params.subject_alt_names =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().subject_alt_names;
    });
    let server = HttpsServer::start(local.server_config()).await;
    let port = server.address.port();
    let plain = listen(move |mut stream| async move {
        read_head(&mut stream).await;
        let response =
            format!("HTTP/1.1 302 Found\r\nlocation: https://localhost:{port}/\r\ncontent-length: 0\r\n\r\n");
        answer(&mut stream, response).await;
    })
    .await;
    let mut config = HttpConfig::new(Url::parse(&format!("http://{plain}/")).unwrap());
    config.tls = TlsConfig { server_name: Some("elsewhere.example".to_owned()), ..world.tls() };
    config.fail_if_ssl = true;
    let outcome = probe(&HttpProber::new(config, clock()).unwrap()).await;
    assert_eq!(reasons(&outcome), ["ok"], "{:?}", outcome.log);
    assert_eq!(kind(&outcome), Some("ssl"));
    assert_eq!(value(&outcome, "probe_http_ssl", &[]), Some(1.0));
    assert_eq!(value(&outcome, "probe_http_redirects", &[]), Some(1.0));
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_verified_servers_only() {
    let world = World::new();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.root.der.clone()).unwrap();
    let start = async |identity: Identity| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider.clone())
            .build()
            .unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(identity.chain, key)
            .unwrap();
        HttpsServer::start(config).await
    };
    // The server looks at the machine's clock: this one holds for long.
    let mut own = params("client", &["client.example"]);
    own.not_before = date_time_ymd(2020, 1, 1);
    own.not_after = date_time_ymd(2099, 1, 1);
    let own = world.root.sign(&own);
    let files = ClientCertificate {
        cert_file: write(world.folder.path(), "client.pem", &own.pem),
        key_file: write(world.folder.path(), "client.key", own.key.serialize_pem()),
    };
    let with = TlsConfig { client_certificate: Some(files.clone().into()), ..world.tls() };

    let good = start(world.identity(|_| {})).await;
    assert_eq!(ask_https(&good, &with).await.result, Ok(()));
    assert!(ask_https(&good, &world.tls()).await.result.is_err());
    assert_eq!(good.requests(), 1);

    let bad = start(Identity::self_signed(&params(NAME, &[NAME]))).await;
    let outcome = ask_https(&bad, &with).await;
    assert_eq!((reasons(&outcome), kind(&outcome)), (vec!["self_signed".to_owned()], Some("certificate")));
    assert_eq!(
        value(&outcome, "probe_tls_version_info", &[]),
        None,
        "the handshake ended before the client's turn"
    );
    assert_eq!(bad.requests(), 0);

    std::fs::write(&files.key_file, "garbage").unwrap();
    let outcome = ask_https(&good, &with).await;
    assert_eq!(kind(&outcome), Some("tls_config"));
    assert!(outcome.result.unwrap_err().unknown);
}

#[tokio::test]
async fn a_ca_file_without_certificates_makes_the_answer_unknown() {
    let world = World::new();
    let server = HttpsServer::start(world.identity(|_| {}).server_config()).await;
    let folder = world.folder.path();
    for (file, expected) in [
        (folder.join("missing.pem"), "No such file"),
        (write(folder, "empty.pem", ""), "holds no certificate"),
        (write(folder, "cut.pem", &world.root.pem[..100]), "is not PEM"),
        (folder.to_owned(), "not a regular file"),
    ] {
        let outcome =
            ask_tls(&server, &TlsConfig { ca: Some(SecretSource::File(file)), ..world.tls() }).await;
        let failure = outcome.result.unwrap_err();
        assert!(failure.unknown && failure.kind == "tls_config", "{failure:?}");
        assert!(failure.reason.contains(expected), "{failure:?}");
    }
}

/// DER, as far as an OCSP response needs it.
fn der(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let length = contents.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        out.extend([0x82, (length >> 8) as u8, length as u8]);
    }
    out.extend(contents);
    out
}

/// An OCSP response about the certificate with serial number 0x00abcdef, signed with ECDSA and SHA-256.
pub(crate) fn ocsp_response(status: &[u8], signer: &rcgen::KeyPair, delegate: Option<&[u8]>) -> Vec<u8> {
    use rcgen::SigningKey as _;
    let time = |text: &str| der(0x18, &[text.as_bytes()]);
    let sha1 = der(0x30, &[&der(0x06, &[&[0x2b, 0x0e, 0x03, 0x02, 0x1a]])]);
    let id = der(
        0x30,
        &[&sha1, &der(0x04, &[&[0; 20]]), &der(0x04, &[&[0; 20]]), &[0x02, 4, 0, 0xab, 0xcd, 0xef]],
    );
    let next = der(0xa0, &[&time("20260608000000Z")]);
    let single = der(0x30, &[&id, status, &time("20260601000000Z"), &next]);
    let responder = der(0xa2, &[&der(0x04, &[&[0; 20]])]);
    let data = der(0x30, &[&responder, &time("20260601000000Z"), &der(0x30, &[&single])]);
    let signature = signer.sign(&data).unwrap();
    let ecdsa_sha256 = der(0x30, &[&der(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]])]);
    let mut parts = vec![data, ecdsa_sha256, der(0x03, &[&[0], &signature])];
    parts.extend(delegate.map(|certificate| der(0xa0, &[&der(0x30, &[certificate])])));
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let basic = der(0x30, &parts);
    let kind = der(0x06, &[&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01]]);
    let typed = der(0x30, &[&kind, &der(0x04, &[&basic])]);
    der(0x30, &[&der(0x0a, &[&[0]]), &der(0xa0, &[&typed])])
}

#[tokio::test]
async fn a_stapled_response_is_read_and_believed_if_the_issuer_signed_it() {
    use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
    const GOOD: &[u8] = &[0x80, 0];
    const UNKNOWN: &[u8] = &[0x82, 0];
    // 2026-05-30.
    let revoked = der(0xa1, &[&der(0x18, &[b"20260530000000Z"])]);
    let root_key = KeyPair::generate().unwrap();
    let mut root = params("root", &[]);
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_der = root.self_signed(&root_key).unwrap().der().clone();
    let stranger = KeyPair::generate().unwrap();
    let delegate_key = KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::from_params(&root, &root_key);
    let delegate = |purpose: ExtendedKeyUsagePurpose| {
        let mut delegate = params("responder", &[]);
        delegate.extended_key_usages = vec![purpose];
        delegate.signed_by(&delegate_key, &issuer).unwrap().der().to_vec()
    };
    let (charged, other) =
        (delegate(ExtendedKeyUsagePurpose::OcspSigning), delegate(ExtendedKeyUsagePurpose::ServerAuth));
    let folder = tempfile::tempdir().unwrap();
    let pem = root.self_signed(&root_key).unwrap().pem();
    let ca = Some(SecretSource::File(write(folder.path(), "ca.pem", pem)));
    // The response, its status, whether it is valid, and what is wrong with the certificate.
    for (what, response, status, valid, reason) in [
        ("none", vec![], None, None, "ok"),
        ("good", ocsp_response(GOOD, &root_key, None), Some(0.0), Some(1.0), "ok"),
        ("unknown", ocsp_response(UNKNOWN, &root_key, None), Some(2.0), Some(1.0), "ok"),
        ("revoked", ocsp_response(&revoked, &root_key, None), Some(1.0), Some(1.0), "revoked"),
        (
            "by a delegate",
            ocsp_response(&revoked, &delegate_key, Some(&charged)),
            Some(1.0),
            Some(1.0),
            "revoked",
        ),
        ("by a server", ocsp_response(&revoked, &delegate_key, Some(&other)), Some(1.0), Some(0.0), "ok"),
        ("by anybody", ocsp_response(&revoked, &stranger, None), Some(1.0), Some(0.0), "ok"),
        ("garbage", b"garbage".to_vec(), None, Some(0.0), "ok"),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut leaf = params(NAME, &[NAME]);
        leaf.serial_number = Some(SerialNumber::from_slice(&[0x00, 0xab, 0xcd, 0xef]));
        let leaf = leaf.signed_by(&key, &issuer).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert_with_ocsp(vec![leaf, root_der.clone()], key, response)
            .unwrap();
        let server = HttpsServer::start(config).await;
        let tls = TlsConfig { ca: ca.clone(), server_name: Some(NAME.to_owned()), ..TlsConfig::default() };
        let outcome = ask_tls(&server, &tls).await;
        assert_eq!(reasons(&outcome), [reason], "{what}");
        assert_eq!(outcome.result.is_ok(), reason == "ok", "{what}");
        let is = |name: &str| value(&outcome, name, &[]);
        assert_eq!(is("ssl_ocsp_response_stapled"), Some(f64::from(u8::from(what != "none"))), "{what}");
        assert_eq!(is("ssl_ocsp_response_status"), status, "{what}");
        assert_eq!(is("valmis_tls_ocsp_staple_valid"), valid, "{what}");
        let times = [is("ssl_ocsp_response_this_update"), is("ssl_ocsp_response_next_update")];
        assert_eq!(
            times,
            status.map_or([None; 2], |_| [Some(1_780_272_000.0), Some(1_780_876_800.0)]),
            "{what}"
        );
        let revoked_at = (status == Some(1.0)).then_some(1_780_099_200.0);
        assert_eq!(is("ssl_ocsp_response_revoked_at"), revoked_at, "{what}");
        assert_eq!(is("valmis_tls_chain_root_sent"), Some(1.0), "{what}");
    }
}

#[tokio::test]
async fn each_certificate_of_a_chain_is_described() {
    let world = World::new();
    let identity = world.identity(|params| {
        params.subject_alt_names.push(rcgen::SanType::IpAddress("10.0.0.1".parse().unwrap()));
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name("a@b.fi".try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::OrganizationalUnitName, "Ops");
    });
    let server = HttpsServer::start(identity.server_config()).await;
    let outcome = ask_tls(&server, &world.tls()).await;
    let leaf = [
        ("serial_no", "11259375"),
        ("issuer_cn", "intermediate"),
        ("cn", NAME),
        ("dnsnames", ",app.example,other.example,"),
        ("ips", ",10.0.0.1,"),
        ("emails", ",a@b.fi,"),
        ("ou", ",Ops,"),
    ];
    assert_eq!(value(&outcome, "ssl_cert_not_after", &leaf), Some(END_OF_2026));
    let verified = |cn| value(&outcome, "ssl_verified_cert_not_after", &[("chain_no", "0"), ("cn", cn)]);
    assert_eq!(verified(NAME), Some(END_OF_2026));
    assert_eq!(verified("intermediate"), Some(END_OF_2027));
    assert!(verified("root").is_some(), "also what the server did not send");
    assert_eq!(value(&outcome, "ssl_probe_success", &[]), Some(1.0));
    assert_eq!(value(&outcome, "ssl_tls_version_info", &[("version", "TLS 1.3")]), Some(1.0));
    for position in ["0", "1"] {
        let labels =
            [("chain_position", position), ("key_type", "ECDSA"), ("signature_algorithm", "ECDSA-SHA256")];
        assert_eq!(value(&outcome, "valmis_tls_certificate_key_length", &labels), Some(256.0));
    }
    let flags = |outcome: &ProbeOutcome| {
        ["valmis_tls_chain_incomplete", "valmis_tls_chain_root_sent", "valmis_tls_must_staple"]
            .map(|name| value(outcome, name, &[]).unwrap())
    };
    assert_eq!(flags(&outcome), [0.0, 0.0, 0.0]);

    let mut alone = world.identity(|_| {});
    alone.chain.truncate(1);
    let server = HttpsServer::start(alone.server_config()).await;
    let outcome = ask_tls(&server, &world.tls()).await;
    assert_eq!(reasons(&outcome), ["unknown_issuer"]);
    assert_eq!(flags(&outcome), [1.0, 0.0, 0.0]);
    assert_eq!(value(&outcome, "ssl_probe_success", &[]), Some(0.0));
}
