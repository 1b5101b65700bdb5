//! A `PgBouncer` in front of a PostgreSQL server.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::postgres::{free_port, own_folder, server_user};

/// A running pooler. It is ended when it is dropped.
pub(crate) struct PgBouncer {
    pub(crate) port: u16,
    process: Child,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts a pooler for the database `postgres` of the server at this port, with the role `monitor`
    /// and its password `right`. `None` where there is no `PgBouncer`.
    /// The settings are added to its own.
    pub(crate) fn start(server: u16, settings: &str) -> Option<Self> {
        let root = super::cache().join("pgbouncer");
        let program = root.join("usr/sbin/pgbouncer");
        if !program.exists() {
            super::missing("pgbouncer");
            return None;
        }
        let (folder, port) = (own_folder(), free_port());
        let users = folder.path().join("users");
        let settings = format!(
            "[databases]\npostgres = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = plain\nauth_file = {}\n\
             stats_users = monitor\npool_mode = transaction\nmax_client_conn = 50\n{settings}\n",
            users.display()
        );
        fs::write(&users, "\"monitor\" \"right\"\n").unwrap();
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, settings).unwrap();
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        let libraries = [root.join("usr/lib").join(&triplet), root.join("lib").join(&triplet)];
        let libraries: Vec<String> = libraries.iter().map(|path| path.display().to_string()).collect();
        let mut command = Command::new(program);
        command.arg("-q").arg(file).env("LD_LIBRARY_PATH", libraries.join(":"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(user) = server_user() {
            command.uid(user);
        }
        Some(Self { port, process: command.spawn().unwrap(), _folder: folder })
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // One that has ended already needs no signal.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
