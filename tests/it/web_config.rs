//! The web configuration file of Prometheus' exporters: what is accepted, and what it brings about.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ::valmis::clock::SystemClock;
use ::valmis::listener::{self, Access, Door, Limits, Metrics, Server};
use axum::Router;
use axum::http::{HeaderMap, Version};
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::registry::Registry;
use rcgen::SanType;
use reqwest::StatusCode;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::real::eventually;
use crate::real::valmis::{COMMON, NO_DISK, Valmis};
use crate::servers::{Authority, Identity, params};

/// A hash of `secret` that is quickly checked.
fn hash() -> String {
    bcrypt::hash("secret", 4).unwrap()
}

/// A folder with the certificates that the files of exporter-toolkit name.
struct Folder {
    at: TempDir,
    authority: Authority,
    /// Who signed itself and is trusted: `client_selfsigned.pem`.
    selfsigned: Identity,
}

impl Folder {
    fn new() -> Self {
        let authority = Authority::root("Tests", 2035);
        let mut itself = params("client", &["client.example"]);
        itself.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        itself.not_after = rcgen::date_time_ymd(2035, 1, 1);
        let made =
            Self { at: TempDir::new().unwrap(), authority, selfsigned: Identity::self_signed(&itself) };
        made.renew();
        made.write("client_selfsigned.pem", &made.selfsigned.pem);
        made.write("authority.pem", &made.authority.pem);
        made
    }

    /// Another certificate for the server.
    fn renew(&self) {
        let identity = self.sign("localhost", &[]);
        self.write("server.crt", &identity.pem);
        self.write("server.key", &identity.key.serialize_pem());
    }

    fn sign(&self, name: &str, more: &[SanType]) -> Identity {
        let mut params = params(name, &[name]);
        params.subject_alt_names.extend_from_slice(more);
        params.not_after = rcgen::date_time_ymd(2035, 1, 1);
        self.authority.sign(&params)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.at.path().join(name)
    }
}

/// What exporter-toolkit says of each file (`web/tls_config_test.go`); nothing: it serves.
const FILES: [(&str, Option<&str>); 35] = [
    ("tls_config_noAuth.requireandverifyclientcert.good.yml", None),
    ("tls_config_noAuth.requireanyclientcert.good.yml", None),
    ("web_config_auth_clientCAs_invalid.bad.yml", Some("failed to read client_ca_file")),
    // It has the text of `noAuth.good.blocking` and loads: only whom the system trusts is let in.
    ("web_config_auth_clientCAs_missing.bad.yml", None),
    ("web_config_auth_user_list_invalid.bad.yml", Some("not given as a bcrypt hash")),
    ("web_config_empty.yml", None),
    ("web_config_headers.good.yml", None),
    ("web_config_headers_content_type_options.bad.yml", Some("invalid value for X-Content-Type-Options")),
    ("web_config_headers_extra_header.bad.yml", Some("HTTP header \"Content-Type\" can not be configured")),
    ("web_config_headers_frame_options.bad.yml", Some("invalid value for X-Frame-Options")),
    ("web_config_junk.yml", Some("must be a mapping")),
    ("web_config_junk_key.yml", Some("has no key `cert_filse`")),
    ("web_config_noAuth.bad.yml", Some("client CA's have been configured without a Client Auth Policy")),
    ("web_config_noAuth.good.blocking.yml", None),
    ("web_config_noAuth.good.yml", None),
    ("web_config_noAuth_allCiphers.good.yml", None),
    ("web_config_noAuth_allCurves.good.yml", None),
    ("web_config_noAuth_certPath_empty.bad.yml", Some("missing one of cert or cert_file")),
    ("web_config_noAuth_certPath_invalid.bad.yml", Some("failed to read cert_file")),
    ("web_config_noAuth_certPath_keyPath_empty.bad.yml", Some("missing one of cert or cert_file")),
    ("web_config_noAuth_certPath_keyPath_invalid.bad.yml", Some("failed to read cert_file")),
    ("web_config_noAuth_cert_empty.bad.yml", Some("missing one of cert or cert_file")),
    ("web_config_noAuth_inventedCiphers.bad.yml", Some("unknown cipher")),
    ("web_config_noAuth_inventedCurves.bad.yml", Some("unknown curve")),
    ("web_config_noAuth_keyPath_empty.bad.yml", Some("missing one of key or key_file")),
    ("web_config_noAuth_keyPath_invalid.bad.yml", Some("failed to read key_file")),
    ("web_config_noAuth_key_empty.bad.yml", Some("missing one of key or key_file")),
    ("web_config_noAuth_noHTTP2.good.yml", None),
    ("web_config_noAuth_noHTTP2Cipher.bad.yml", Some("TLSConfig.CipherSuites is missing an HTTP/2-required")),
    ("web_config_noAuth_someCiphers.good.yml", None),
    ("web_config_noAuth_someCiphers_noOrder.good.yml", None),
    ("web_config_noAuth_someCurves.good.yml", None),
    ("web_config_noAuth_wrongTLSVersion.bad.yml", Some("unknown TLS version")),
    ("web_config_users.good.yml", None),
    ("web_config_users_noTLS.good.yml", None),
];

#[test]
fn every_file_of_exporter_toolkit_loads_or_is_refused_for_its_reason() {
    let Some(conformance) = crate::conformance::folder() else { return };
    let files = crate::conformance::files_below(&conformance.join("web-config"), "yml");
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, FILES.map(|(name, _)| name));
    let folder = Folder::new();
    for (file, (name, expected)) in files.iter().zip(FILES) {
        let copy = folder.path(name);
        fs::copy(file, &copy).unwrap();
        match (listener::load(&copy), expected) {
            (Ok(_), None) => {}
            (Ok(_), Some(expected)) => panic!("{name} was accepted instead of: {expected}"),
            (Err(findings), expected) => {
                let found: Vec<_> = findings.iter().map(ToString::to_string).collect();
                let found = found.join("\n");
                assert!(expected.is_some_and(|expected| found.contains(expected)), "{name}: {found}");
                assert!(found.starts_with(copy.to_str().unwrap()), "{found}");
            }
        }
    }
}

/// A server with a web configuration.
struct Site {
    folder: Folder,
    address: SocketAddr,
    access: Arc<Access>,
    registry: Registry,
    _stop: tokio_util::sync::DropGuard,
}

impl Site {
    async fn start(configuration: &str) -> Self {
        let folder = Folder::new();
        folder.write("web.yml", configuration);
        let loaded = listener::load(&folder.path("web.yml")).expect("a good configuration");
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, true);
        let clock = Arc::new(SystemClock);
        let access = Arc::new(Access::new(folder.path("web.yml"), &loaded, clock, metrics.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "Hello World!"));
        let stop = CancellationToken::new();
        let door = Door::Guarded(access.clone());
        let server = Server { door, router, limits: Limits::default(), metrics };
        tokio::spawn(server.serve(listener, stop.clone()));
        Self { folder, address, access, registry, _stop: stop.drop_guard() }
    }

    fn client(&self) -> Client {
        Client::trusting(&self.folder.authority)
    }

    /// Over TLS.
    async fn get(&self, client: Client) -> Result<Answer, String> {
        client.get(self.address).await
    }

    /// In plain HTTP.
    async fn plain(&self, user: Option<(&str, &str)>) -> (StatusCode, HeaderMap, String) {
        let request = crate::real::http().get(format!("http://{}/", self.address));
        let request = match user {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        };
        let answer = request.send().await.unwrap();
        (answer.status(), answer.headers().clone(), answer.text().await.unwrap())
    }

    fn metric(&self, line: &str) -> f64 {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry).unwrap();
        let value = page.lines().find_map(|found| found.strip_prefix(line)).expect("the metric");
        value.trim().parse().unwrap()
    }
}

/// A client with a certificate or without.
#[derive(Default)]
struct Client {
    authority: Option<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, Vec<u8>)>,
    suites: Vec<rustls::SupportedCipherSuite>,
    groups: Vec<&'static dyn SupportedKxGroup>,
    versions: Vec<&'static SupportedProtocolVersion>,
    http2: bool,
}

#[derive(Debug)]
struct Answer {
    body: String,
    version: Version,
    suite: CipherSuite,
    group: NamedGroup,
}

impl Client {
    fn trusting(authority: &Authority) -> Self {
        Self { authority: Some(authority.der.clone()), ..Self::default() }
    }

    fn identified(self, identity: &Identity) -> Self {
        let key = identity.key.serialize_der();
        Self { identity: Some((identity.chain.clone(), key)), ..self }
    }

    async fn get(self, address: SocketAddr) -> Result<Answer, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.authority);
        let mut provider = default_provider();
        if !self.suites.is_empty() {
            provider.cipher_suites = self.suites;
        }
        if !self.groups.is_empty() {
            provider.kx_groups = self.groups;
        }
        let versions = if self.versions.is_empty() { vec![&TLS13, &TLS12] } else { self.versions };
        let provider: Arc<CryptoProvider> = Arc::new(provider);
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![if self.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        let session = stream.get_ref().1;
        let suite = session.negotiated_cipher_suite().unwrap().suite();
        let group = session.negotiated_key_exchange_group().unwrap().name();
        let request = axum::http::Request::get("https://localhost/").header("host", "localhost");
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        let told = |error: hyper::Error| format!("{error:?}");
        let response = if self.http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .map_err(told)?;
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(told)?
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(told)?
        };
        let version = response.version();
        let body = response.into_body().collect().await.map_err(told)?.to_bytes();
        Ok(Answer { body: String::from_utf8(body.to_vec()).unwrap(), version, suite, group })
    }
}

const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

#[tokio::test]
async fn http_1_and_http_2_are_answered_over_tls_and_plain_http_is_told_off() {
    let site = Site::start(TLS).await;
    for (http2, version) in [(false, Version::HTTP_11), (true, Version::HTTP_2)] {
        let answer = site.get(Client { http2, ..site.client() }).await.unwrap();
        assert_eq!((answer.body.as_str(), answer.version), ("Hello World!", version));
    }
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    // The rest of the request may be refused after the answer.
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.ends_with("Client sent an HTTP request to an HTTPS server.\n"), "{answer}");
    assert_eq!(site.metric("valmis_http_rejections_total{reason=\"plain_http\"}"), 1.0);

    let site = Site::start(&format!("{TLS}http_server_config: {{http2: false}}\n")).await;
    assert!(site.get(Client { http2: true, ..site.client() }).await.is_err());
    assert!(site.get(site.client()).await.is_ok());
}

#[tokio::test]
async fn suites_curves_and_versions_are_those_of_the_configuration() {
    use cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as AES128, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 as AES256,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 as CHACHA20,
    };
    let names = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let listed = format!("{TLS}  cipher_suites: [{names}]\n  max_version: TLS12\n");
    let check = async |configuration: &str, suites: Vec<_>, expected: Option<CipherSuite>| {
        let site = Site::start(configuration).await;
        let answer = site.get(Client { suites, versions: vec![&TLS12], ..site.client() }).await;
        assert_eq!(answer.as_ref().ok().map(|answer| answer.suite), expected, "{configuration}: {answer:?}");
    };
    check(&listed, vec![AES256, AES128], Some(AES128.suite())).await;
    let own_order = format!("{listed}  prefer_server_cipher_suites: false\n");
    check(&own_order, vec![AES256, AES128], Some(AES256.suite())).await;
    check(&listed, vec![CHACHA20], None).await;

    let check =
        async |curves: &str, groups: Vec<&'static dyn SupportedKxGroup>, expected: Option<NamedGroup>| {
            let site = Site::start(&format!("{TLS}  curve_preferences: [{curves}]\n")).await;
            let answer = site.get(Client { groups, ..site.client() }).await;
            assert_eq!(answer.as_ref().ok().map(|answer| answer.group), expected, "{curves}: {answer:?}");
        };
    let both = || vec![kx_group::X25519, kx_group::SECP384R1];
    check("CurveP384", both(), Some(NamedGroup::secp384r1)).await;
    check("CurveP521, X25519", both(), Some(NamedGroup::X25519)).await;
    check("CurveP521", both(), None).await;

    let check = async |range: &str, version: &'static SupportedProtocolVersion, spoken: bool| {
        let site = Site::start(&format!("{TLS}  {range}\n")).await;
        let answer = site.get(Client { versions: vec![version], ..site.client() }).await;
        assert_eq!(answer.is_ok(), spoken, "{range}: {answer:?}");
    };
    check("min_version: TLS13", &TLS12, false).await;
    check("min_version: TLS13", &TLS13, true).await;
    check("max_version: TLS12", &TLS13, false).await;
    check("min_version: TLS10", &TLS12, true).await;
}

#[tokio::test]
async fn clients_are_let_in_by_their_certificates() {
    /// Whether no certificate, one of nobody, one of the authority and the trusted one are let in.
    async fn check(policy: &str, expected: [bool; 4]) {
        let site = Site::start(&format!("{TLS}  {policy}\n")).await;
        let mut stranger = params("client.example", &["client.example"]);
        stranger.not_after = rcgen::date_time_ymd(2035, 1, 1);
        let stranger = Identity::self_signed(&stranger);
        let signed = site.folder.sign("client.example", &[]);
        let clients = [
            site.client(),
            site.client().identified(&stranger),
            site.client().identified(&signed),
            site.client().identified(&site.folder.selfsigned),
        ];
        for (number, (client, expected)) in clients.into_iter().zip(expected).enumerate() {
            let answer = site.get(client).await;
            assert_eq!(answer.is_ok(), expected, "{policy}: client {number}: {answer:?}");
        }
    }
    let (yes, no) = (true, false);
    check("client_auth_type: NoClientCert", [yes, yes, yes, yes]).await;
    check("client_auth_type: RequestClientCert", [yes, yes, yes, yes]).await;
    check("client_auth_type: RequireAnyClientCert", [no, yes, yes, yes]).await;
    check("client_auth_type: RequireClientCert", [no, yes, yes, yes]).await;
    let authority = |policy: &str| format!("client_auth_type: {policy}\n  client_ca_file: authority.pem");
    check(&authority("VerifyClientCertIfGiven"), [yes, no, yes, no]).await;
    check(&authority("RequireAndVerifyClientCert"), [no, no, yes, no]).await;
    let pinned = "client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: client_selfsigned.pem";
    check(pinned, [no, no, no, yes]).await;
    let named =
        |name: &str| format!("client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [{name}]");
    check(&named("client.example"), [no, yes, yes, yes]).await;
    check(&named("other.example"), [no, no, no, no]).await;
    let optional = "client_auth_type: RequestClientCert\n  client_allowed_sans: [client.example]";
    check(optional, [no, yes, yes, yes]).await;
    // Without authorities of one's own, whom the system trusts: none of these.
    check("client_auth_type: RequireAndVerifyClientCert", [no, no, no, no]).await;
}

#[tokio::test]
async fn every_kind_of_alternative_name_is_known() {
    let names = [
        SanType::Rfc822Name("ann@example.org".try_into().unwrap()),
        SanType::URI("spiffe://example.org/prometheus".try_into().unwrap()),
        SanType::IpAddress("10.1.2.3".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
    ];
    for name in ["ann@example.org", "spiffe://example.org/prometheus", "10.1.2.3", "'2001:db8::1'"] {
        let policy =
            format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: authority.pem\n");
        let site = Site::start(&format!("{policy}  client_allowed_sans: [{name}]\n")).await;
        let client = site.folder.sign("client.example", &names);
        assert!(site.get(site.client().identified(&client)).await.is_ok(), "{name}");
        let other = site.folder.sign("client.example", &[]);
        assert!(site.get(site.client().identified(&other)).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn passwords_headers_and_the_rate_limit_hold() {
    let users = format!("basic_auth_users: {{ann: {}}}\n", hash());
    let site =
        Site::start(&format!("{users}http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n")).await;
    for _ in 0..2 {
        for (user, expected) in [
            (Some(("ann", "secret")), StatusCode::OK),
            (Some(("ann", "wrong")), StatusCode::UNAUTHORIZED),
            (Some(("eve", "secret")), StatusCode::UNAUTHORIZED),
            (None, StatusCode::UNAUTHORIZED),
        ] {
            let (status, headers, body) = site.plain(user).await;
            assert_eq!(status, expected, "{user:?}");
            assert_eq!(headers["x-frame-options"], "deny");
            let (asks, text) = if status == StatusCode::OK {
                (None, "Hello World!")
            } else {
                (Some("Basic"), "Unauthorized\n")
            };
            assert_eq!(headers.get("www-authenticate").map(|value| value.to_str().unwrap()), asks);
            assert_eq!(body, text);
        }
    }
    assert_eq!(site.metric("valmis_http_rejections_total{reason=\"credentials\"}"), 6.0);

    let site = Site::start("rate_limit: {interval: 1h, burst: 2}\n").await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(site.plain(None).await.0);
    }
    assert_eq!(seen, [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
}

#[tokio::test]
async fn certificates_and_users_change_while_it_runs_and_a_bad_file_changes_nothing() {
    let site = Site::start(TLS).await;
    let before = site.client();
    assert!(site.get(site.client()).await.is_ok());

    // Another authority altogether.
    let other = Folder::new();
    for name in ["server.crt", "server.key"] {
        fs::copy(other.path(name), site.folder.path(name)).unwrap();
    }
    site.access.reload().await.unwrap();
    assert!(site.get(before).await.is_err());
    let client = || Client::trusting(&other.authority);
    assert!(site.get(client()).await.is_ok());

    for (bad, expected) in [
        (format!("{TLS}  client_auth_type: x\n"), "invalid ClientAuth: x"),
        (String::new(), "`tls_server_config` comes and goes at a restart only"),
    ] {
        site.folder.write("web.yml", &bad);
        let fault = site.access.reload().await.unwrap_err().to_string();
        assert!(fault.contains(expected), "{fault}");
        assert_eq!(site.metric("valmis_web_config_last_reload_successful"), 0.0);
        assert!(site.get(client()).await.is_ok());
    }
    // A key that does not belong to the certificate, as in the middle of a renewal.
    site.folder.write("web.yml", TLS);
    fs::copy(Folder::new().path("server.key"), site.folder.path("server.key")).unwrap();
    let fault = site.access.reload().await.unwrap_err().to_string();
    assert!(fault.contains("certificate and key cannot be used together"), "{fault}");
    assert!(site.get(client()).await.is_ok());

    let site = Site::start(&format!("basic_auth_users: {{ann: {}}}\n", hash())).await;
    assert_eq!(site.plain(Some(("ann", "secret"))).await.0, StatusCode::OK);
    site.folder.write("web.yml", &format!("basic_auth_users: {{bob: {}}}\n", hash()));
    site.access.reload().await.unwrap();
    assert_eq!(site.plain(Some(("ann", "secret"))).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(site.plain(Some(("bob", "secret"))).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_key_is_never_quoted() {
    let folder = Folder::new();
    let key = fs::read_to_string(folder.path("server.key")).unwrap();
    let line = key.lines().nth(1).unwrap();
    let text = |cert: &str| format!("tls_server_config:\n  cert: {cert}\n  key: '{line}'\n");
    for configuration in [text("x"), text(&format!("'{line}'")), text("[x]").replace("key: ", "key: - ")] {
        folder.write("web.yml", &configuration);
        let findings = format!("{:?}", listener::load(&folder.path("web.yml")).unwrap_err());
        assert!(!findings.contains(line), "{findings}");
    }
    folder.write("web.yml", TLS);
    let loaded = listener::load(&folder.path("web.yml")).unwrap();
    assert!(!format!("{:?}", loaded.config).contains(line));
}

/// valmis with TLS and a password: it still scrapes and watches itself, and says how it is to who asks at
/// the other listener.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_tls_and_a_password_valmis_still_watches_itself() {
    let _turn = crate::real::turn().await;
    let folder = Folder::new();
    let web = format!("{TLS}basic_auth_users: {{ann: {}}}\n", hash());
    folder.write("web.yml", &web);
    let path = folder.path("web.yml");
    let configuration = |file: &Path| {
        format!("{COMMON}{NO_DISK}web: {{config_file: '{}', health_listen: '127.0.0.1:0'}}\n", file.display())
    };
    let valmis = Valmis::start_behind(&configuration(&path), ("ann", "secret")).await;
    eventually("its own figures", async || {
        let answer = valmis.json("/api/v1/query?query=up%7Bjob%3D%22valmis%22%7D").await;
        let result = &answer["data"]["result"][0];
        let fine = result["value"][1] == "1" && result["metric"]["instance"] == valmis.address.to_string();
        if fine { Ok(()) } else { Err(format!("{answer:#}")) }
    })
    .await;
    // Without the password nothing is told.
    let url = format!("https://{}/metrics", valmis.address);
    let answer = crate::real::http().get(&url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);

    let health = valmis.health_address();
    for (path, expected) in [("/health", 200), ("/-/ready", 200), ("/metrics", 404), ("/api/v1/alerts", 404)]
    {
        let answer = crate::real::http().get(format!("http://{health}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{path}");
    }

    // The watch over the file finds another user by itself.
    folder.write("web.yml", &web.replace("ann", "bob"));
    eventually("the other user", async || {
        let answer = crate::real::http().get(&url).basic_auth("bob", Some("secret")).send().await.unwrap();
        if answer.status() == StatusCode::OK { Ok(()) } else { Err(valmis.log()) }
    })
    .await;
}
