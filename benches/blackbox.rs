//! Probes per second of processor time, beside Debian's blackbox exporter: the same server is probed over
//! HTTP and HTTPS with the same module, both programs being asked over their `/probe`. A third row is
//! valmis' prober alone, as it runs by schedule. Run it with `cargo bench --bench blackbox`, and
//! `-- --exporter PATH` for another one.

use std::fs;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use url::Url;
use valmis::client::SecretSource;
use valmis::clock::SystemClock;
use valmis::probe::http::{HttpConfig, HttpProber};
use valmis::probe::{Deadline, Prober};

/// How many probes run at once.
const CONCURRENT: usize = 16;
/// How long each side is measured.
const TURN: Duration = Duration::from_secs(8);
/// The clock ticks of Linux, in which it counts processor time, per second.
const TICKS: f64 = 100.0;
const EXPORTER: &str = "target/servers/bookworm/usr/bin/prometheus-blackbox-exporter";
/// Says to this program that it is to be the server, and, with the argument after it, in which folder to
/// leave its certificate.
const SERVER_ARGUMENT: &str = "--server";
/// Names an exporter that takes the place of Debian's.
const EXPORTER_ARGUMENT: &str = "--exporter";

fn main() {
    let runtime = Runtime::new().expect("a runtime starts");
    if let Some(folder) = argument(SERVER_ARGUMENT) {
        runtime.block_on(be_server(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let _server = Killed(
        Command::new(std::env::current_exe().expect("this program has a path"))
            .arg(SERVER_ARGUMENT)
            .arg(folder.path())
            .spawn()
            .expect("this program can be run"),
    );
    let ports =
        wait_for(|| fs::read_to_string(folder.path().join("ports")).ok().filter(|text| text.ends_with('\n')));
    let (http, https) = ports.trim().split_once(' ').expect("two ports");
    let ca = folder.path().join("ca.pem");
    let module = format!(
        "modules: {{bench: {{prober: http, http: {{preferred_ip_protocol: ip4, tls_config: {{ca_file: '{}'}}}}}}}}",
        ca.display()
    );
    let modules = folder.path().join("blackbox.yml");
    fs::write(&modules, module).expect("a file can be written");
    let programs: Vec<Program> =
        [start_valmis(folder.path(), &modules)].into_iter().chain(start_exporter(&modules)).collect();
    for url in [format!("http://localhost:{http}/"), format!("https://localhost:{https}/")] {
        for program in &programs {
            let asked = format!("http://{}/probe?module=bench&target={url}", program.address);
            let client = reqwest::Client::new();
            let probed = runtime.block_on(measure(program.process.0.id(), move || {
                let request = client.get(&asked);
                async move {
                    let answer = request.send().await.expect("it answers");
                    answer.text().await.expect("it is text").contains("\nprobe_success 1\n")
                }
            }));
            report(program.name, &url, probed);
        }
        let mut config = HttpConfig::new(Url::parse(&url).expect("a URL"));
        config.tls.ca = Some(SecretSource::File(ca.clone()));
        config.addresses.preferred = valmis::probe::IpProtocol::Ip4;
        let prober = Arc::new(HttpProber::new(config, Arc::new(SystemClock)).expect("a target"));
        let alone = runtime.block_on(measure(std::process::id(), move || {
            let prober = prober.clone();
            async move { prober.probe(Deadline::after(Duration::from_secs(10))).await.result.is_ok() }
        }));
        report("valmis' prober", &url, alone);
    }
}

/// What follows this argument, if it was given.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// A program that answers `/probe`.
struct Program {
    name: &'static str,
    process: Killed,
    address: SocketAddr,
}

impl Program {
    /// Starts it, and waits until it listens at `address`.
    fn start(name: &'static str, command: &mut Command, address: SocketAddr) -> Self {
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = Killed(process.expect("the program can be run"));
        wait_for(|| TcpStream::connect(address).ok());
        Self { name, process, address }
    }
}

/// A process that ends with this one.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::print_stdout, reason = "it is what a bench is for")]
fn report(who: &str, url: &str, (probes, wall, processor): (usize, f64, f64)) {
    let (per_second, per_processor_second) = (probes as f64 / wall, probes as f64 / processor);
    println!("{who:18} {url:32} {per_second:8.0}/s {per_processor_second:8.0}/CPU s");
}

/// Runs probes for a while; gives their number, the time that passed, and that which the process with
/// this number spent.
async fn measure<F, Fut>(process: u32, probe: F) -> (usize, f64, f64)
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool> + Send,
{
    assert!(probe().await, "the first probe succeeds");
    let (began, spent) = (Instant::now(), processor_seconds(process));
    let workers: Vec<_> = (0..CONCURRENT)
        .map(|_| {
            let probe = probe.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while began.elapsed() < TURN {
                    assert!(probe().await, "every probe succeeds");
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut probes = 0;
    for worker in workers {
        probes += worker.await.expect("a probe does not panic");
    }
    (probes, began.elapsed().as_secs_f64(), processor_seconds(process) - spent)
}

/// User and system time. Source: proc(5), `/proc/pid/stat`, fields 14 and 15.
fn processor_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    let after_name = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    [11, 12].iter().map(|field| fields[*field].parse::<f64>().expect("a number")).sum::<f64>() / TICKS
}

fn start_valmis(folder: &Path, modules: &Path) -> Program {
    let address = free_address();
    let file = folder.join("valmis.yaml");
    let config = format!(
        "listen: {address}\nblackbox: {{config_file: '{}', allow: any, reach: {{loopback: true}}}}\n",
        modules.display()
    );
    fs::write(&file, config).expect("a file can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_valmis"));
    command.arg("--config").arg(file).arg("--data-dir").arg(folder.join("data"));
    Program::start("valmis", &mut command, address)
}

/// Starts blackbox exporter, if it is there.
fn start_exporter(modules: &Path) -> Option<Program> {
    let program = argument(EXPORTER_ARGUMENT).unwrap_or(EXPORTER.to_owned());
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let address = free_address();
    let mut command = Command::new(&program);
    command.arg(format!("--config.file={}", modules.display()));
    command.arg(format!("--web.listen-address={address}"));
    program.exists().then(|| Program::start("blackbox exporter", &mut command, address))
}

fn free_address() -> SocketAddr {
    let free = StdListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a port is free")
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "a server starts within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Serves HTTP and HTTPS until it is killed; leaves its ports and its certificate in `folder`.
async fn be_server(folder: &Path) {
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate can be made");
    fs::write(folder.join("ca.pem"), certificate.pem()).expect("a file can be written");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("key and certificate fit");
    let listen = async || TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let (plain, secured) = (listen().await, listen().await);
    let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
    let ports = format!("{} {}\n", port(&plain), port(&secured));
    fs::write(folder.join("ports"), ports).expect("a file can be written");
    tokio::join!(serve(plain, None), serve(secured, Some(TlsAcceptor::from(Arc::new(config)))));
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => answer(stream).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        answer(stream).await;
                    }
                }
            }
        });
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    // One read holds these small requests; a client that has gone is the probe's failure.
    let _ = stream.read(&mut [0; 1024]).await;
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    let _ = stream.shutdown().await;
}
