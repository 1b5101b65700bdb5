//! State in a file.
//!
//! One thread owns the database. Groups that commit at the same moment share one transaction and one
//! wait for the disk.

mod ledger;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    TableError, WriteTransaction,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::{
    Changes, HeartbeatRecord, LedgerEntry, LedgerLimits, LedgerQuestion, OutboxEntry, RuleChanges, RuleKey,
    StateError, StateStore, StoredRule, record,
};
use crate::model::TimestampMs;

/// The layout that this version writes. A file with a higher number was written by a later version.
const SCHEMA: u64 = 1;

/// The database's page cache in bytes. The file holds a few records for each active alert.
const CACHE_BYTES: usize = 512 * 1024;

/// How many commits may wait for the disk, and how many share a transaction.
const QUEUE: usize = 64;

/// How long a commit is waited for, and the end of the thread. A disk that hangs must not keep anybody from
/// being paged, nor the process from ending.
const PATIENCE: Duration = Duration::from_secs(10);

/// File, group, rule, labels, ordinal.
type RuleId<'a> = (&'a str, &'a str, &'a str, &'a str, u32);

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The last evaluation that was written.
const RULES: TableDefinition<'_, RuleId<'static>, TimestampMs> = TableDefinition::new("rules");
/// Alerts by rule and fingerprint.
const ALERTS: TableDefinition<'_, (RuleId<'static>, u64), &[u8]> = TableDefinition::new("alerts");
/// Sequence and payload by Alertmanager and fingerprint.
const OUTBOX: TableDefinition<'_, (&str, u64), (u64, &[u8])> = TableDefinition::new("outbox");
/// What jobs have told, by name. It came after the others: a file may be without it.
const HEARTBEATS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("heartbeats");

/// State in a redb file.
#[derive(Debug)]
pub struct RedbStore {
    /// Absent once the store is being dropped.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    /// Cancelled when the thread has ended.
    ended: CancellationToken,
    /// For the ledger, which is read one request at a time: the processors are for others too.
    reading: Semaphore,
    metrics: Metrics,
}

#[derive(Debug)]
enum Command {
    Rules(oneshot::Sender<Result<Vec<StoredRule>, StateError>>),
    Outbox(oneshot::Sender<Result<Vec<OutboxEntry>, StateError>>),
    Read(oneshot::Sender<Result<ReadTransaction, StateError>>),
    Heartbeats(oneshot::Sender<Result<Vec<HeartbeatRecord>, StateError>>),
    Commit(Changes, oneshot::Sender<Result<(), StateError>>),
}

impl RedbStore {
    /// Opens the file, or creates it with its folder. A file that is damaged, or that a later version
    /// wrote, is moved aside, and the store begins empty. Blocks: reads the whole file.
    pub fn open(path: &Path, limits: LedgerLimits, metrics: Metrics) -> Result<Self, StateError> {
        let database = open_or_begin_anew(path, &metrics)?;
        let (commands, inbox) = mpsc::channel(QUEUE);
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let mut writer =
            Writer { database: Some(database), path: path.to_owned(), limits, metrics: metrics.clone() };
        let run = move || {
            let _ended = guard;
            writer.run(inbox);
        };
        let thread = std::thread::Builder::new().name("state".to_owned()).spawn(run).map_err(|error| {
            StateError::Open { path: path.display().to_string(), what: error.to_string() }
        })?;
        let reading = Semaphore::new(1);
        Ok(Self { commands: Some(commands), thread: Some(thread), ended, reading, metrics })
    }

    /// Cancelled when nothing is stored any more: the store was dropped, or its thread panicked.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StateError>>) -> Command + Send,
    ) -> Result<T, StateError> {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or(StateError::Closed)?;
        commands.send(command(reply)).await.map_err(|_| StateError::Closed)?;
        answer.await.map_err(|_| StateError::Closed)?
    }
}

impl StateStore for RedbStore {
    fn rules(&self) -> BoxFuture<'_, Result<Vec<StoredRule>, StateError>> {
        self.ask(Command::Rules).boxed()
    }

    fn outbox(&self) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StateError>> {
        self.ask(Command::Outbox).boxed()
    }

    fn ledger(&self, question: LedgerQuestion) -> BoxFuture<'_, Result<Vec<LedgerEntry>, StateError>> {
        async move {
            // It is never closed.
            let _turn = self.reading.acquire().await.map_err(|_| StateError::Closed)?;
            // The thread that commits only says what there is to read: alerts wait for it.
            let transaction = self.ask(Command::Read).await?;
            let unreadable = self.metrics.unreadable_records.clone();
            let reading = spawn_blocking(move || ledger::read(&transaction, &question, &unreadable));
            reading.await.map_err(|failure| StateError::Storage(failure.to_string()))?
        }
        .boxed()
    }

    fn heartbeats(&self) -> BoxFuture<'_, Result<Vec<HeartbeatRecord>, StateError>> {
        self.ask(Command::Heartbeats).boxed()
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), StateError>> {
        async move {
            if changes.is_empty() {
                return Ok(());
            }
            let written = timeout(PATIENCE, self.ask(|reply| Command::Commit(changes, reply))).await;
            let written = written.unwrap_or(Err(StateError::Late(PATIENCE)));
            // Of the others the thread itself keeps count.
            if let Err(StateError::Late(_) | StateError::Closed) = written {
                self.metrics.commit_failures.inc();
            }
            written
        }
        .boxed()
    }
}

/// Waits until all that was committed is in the file and the file is closed, for as long as the disk does
/// not hang.
impl Drop for RedbStore {
    fn drop(&mut self) {
        self.commands = None;
        let Some(thread) = self.thread.take() else { return };
        let began = std::time::Instant::now();
        while !thread.is_finished() {
            if began.elapsed() > PATIENCE {
                tracing::error!("The state file could not be closed in time");
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // A panic of the thread was reported when it happened.
        drop(thread.join());
    }
}

fn storage(error: impl Into<redb::Error>) -> StateError {
    StateError::Storage(error.into().to_string())
}

/// Why a file cannot be used.
enum Unusable {
    /// It could be used at another time, or nothing can be written there.
    Error(StateError),
    /// It will never be usable.
    Damaged(String),
}

fn open_or_begin_anew(path: &Path, metrics: &Metrics) -> Result<Database, StateError> {
    let failed = |what: String| StateError::Open { path: path.display().to_string(), what };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
    }
    match open(path) {
        Ok(database) => Ok(database),
        Err(Unusable::Error(error)) => Err(error),
        Err(Unusable::Damaged(reason)) => {
            let aside = free_name(path);
            fs::rename(path, &aside)
                .map_err(|error| failed(format!("{reason}; and moving it aside: {error}")))?;
            metrics.files_moved_aside.inc();
            tracing::error!(
                file = %path.display(), moved_to = %aside.display(), reason,
                "The state file cannot be used and was moved aside; alert states begin anew: pending \
                 alerts wait their whole duration again and firing alerts get a new start"
            );
            open(path).map_err(|error| match error {
                Unusable::Error(error) => error,
                Unusable::Damaged(reason) => failed(reason),
            })
        }
    }
}

/// A name beside `path` that no file has.
fn free_name(path: &Path) -> PathBuf {
    let name = |number: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        PathBuf::from(name)
    };
    (1..u64::MAX).map(name).find(|candidate| !candidate.exists()).expect("some number is free")
}

fn open(path: &Path) -> Result<Database, Unusable> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    // redb reports damage as an error where its checks see it; where they do not, it panics.
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.create(path)));
    let unusable =
        |what: String| Unusable::Error(StateError::Open { path: path.display().to_string(), what });
    let database = match opened {
        Err(_) => return Err(Unusable::Damaged("the database code panicked over it".to_owned())),
        Ok(Ok(database)) => database,
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => {
            return Err(Unusable::Error(StateError::InUse(path.display().to_string())));
        }
        // "Invalid data" is redb's answer to a file that is no database at all.
        Ok(Err(DatabaseError::Storage(StorageError::Io(error))))
            if error.kind() != std::io::ErrorKind::InvalidData
                && error.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            return Err(unusable(error.to_string()));
        }
        Ok(Err(error)) => return Err(Unusable::Damaged(error.to_string())),
    };
    match prepare(&database) {
        Ok(SCHEMA) => Ok(database),
        Ok(schema) => Err(Unusable::Damaged(format!(
            "it has schema {schema}, written by a later version; this one knows {SCHEMA}"
        ))),
        Err(redb::Error::Io(error)) => Err(unusable(error.to_string())),
        Err(error) => Err(Unusable::Damaged(error.to_string())),
    }
}

/// Creates what is missing; returns the file's schema.
fn prepare(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(META) {
        Ok(meta) => {
            if let Some(schema) = meta.get("schema")? {
                return Ok(schema.value());
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    drop(transaction);
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("schema", SCHEMA)?;
    transaction.open_table(RULES)?;
    transaction.open_table(ALERTS)?;
    transaction.open_table(OUTBOX)?;
    transaction.commit()?;
    Ok(SCHEMA)
}

/// The thread that owns the database.
struct Writer {
    /// Absent after a failed write: redb wants the file to be opened anew then.
    database: Option<Database>,
    path: PathBuf,
    limits: LedgerLimits,
    metrics: Metrics,
}

impl Writer {
    fn run(&mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut next = None;
        while let Some(command) = next.take().or_else(|| inbox.blocking_recv()) {
            match command {
                // The asker may have gone away; then nobody wants the answer.
                Command::Rules(reply) => drop(reply.send(self.rules())),
                Command::Outbox(reply) => drop(reply.send(self.outbox())),
                Command::Read(reply) => drop(reply.send(self.read())),
                Command::Heartbeats(reply) => drop(reply.send(self.heartbeats())),
                Command::Commit(changes, reply) => {
                    let mut batch = vec![(changes, reply)];
                    while batch.len() < QUEUE {
                        match inbox.try_recv() {
                            Ok(Command::Commit(changes, reply)) => batch.push((changes, reply)),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(batch);
                }
            }
        }
    }

    fn commit(&mut self, batch: Vec<(Changes, oneshot::Sender<Result<(), StateError>>)>) {
        let began = Instant::now();
        let result = self.write(batch.iter().map(|(changes, _)| changes));
        self.metrics.commit_duration.observe(began.elapsed().as_secs_f64());
        if let Err(error) = &result {
            self.metrics.commit_failures.inc();
            self.database = None;
            tracing::error!(%error, file = %self.path.display(), "Alert states could not be written");
        } else {
            self.metrics.commits.inc();
        }
        for (_, reply) in batch {
            // The asker may have gone away; then nobody wants the answer.
            drop(reply.send(result.clone()));
        }
    }

    fn database(&mut self) -> Result<&Database, StateError> {
        if self.database.is_none() {
            let reopened = open(&self.path).map_err(|error| match error {
                Unusable::Error(error) => error,
                Unusable::Damaged(reason) => StateError::Storage(reason),
            })?;
            self.database = Some(reopened);
        }
        Ok(self.database.as_ref().expect("it was just opened"))
    }

    fn write<'a>(&mut self, batch: impl Iterator<Item = &'a Changes>) -> Result<(), StateError> {
        let limits = self.limits;
        let transaction = self.database()?.begin_write().map_err(storage)?;
        for changes in batch {
            write_changes(&transaction, changes).map_err(storage)?;
            ledger::write(&transaction, changes, limits).map_err(storage)?;
        }
        transaction.commit().map_err(storage)
    }

    fn rules(&mut self) -> Result<Vec<StoredRule>, StateError> {
        let unreadable = self.metrics.unreadable_records.clone();
        let transaction = self.read()?;
        let rules = transaction.open_table(RULES).map_err(storage)?;
        let alerts = transaction.open_table(ALERTS).map_err(storage)?;
        let mut stored = Vec::new();
        for row in rules.iter().map_err(storage)? {
            let (id, evaluated_at) = row.map_err(storage)?;
            let id = id.value();
            let (file, group, rule, labels, ordinal) = id;
            let key = RuleKey {
                file: file.to_owned(),
                group: group.to_owned(),
                rule: rule.to_owned(),
                labels: labels.to_owned(),
                ordinal,
            };
            let mut records = Vec::new();
            for row in alerts.range((id, 0)..=(id, u64::MAX)).map_err(storage)? {
                let (_, bytes) = row.map_err(storage)?;
                match record::decode(bytes.value()) {
                    Ok(alert) => records.push(alert),
                    Err(error) => {
                        unreadable.inc();
                        tracing::error!(
                            rule, group, file, %error, "A stored state of rule `{rule}` cannot be read"
                        );
                    }
                }
            }
            stored.push(StoredRule { key, evaluated_at: evaluated_at.value(), alerts: records });
        }
        Ok(stored)
    }

    fn read(&mut self) -> Result<ReadTransaction, StateError> {
        self.database()?.begin_read().map_err(storage)
    }

    fn outbox(&mut self) -> Result<Vec<OutboxEntry>, StateError> {
        let transaction = self.read()?;
        let outbox = transaction.open_table(OUTBOX).map_err(storage)?;
        let mut entries = Vec::new();
        for row in outbox.iter().map_err(storage)? {
            let (key, value) = row.map_err(storage)?;
            let ((alertmanager, fingerprint), (sequence, payload)) = (key.value(), value.value());
            entries.push(OutboxEntry {
                alertmanager: alertmanager.to_owned(),
                fingerprint,
                sequence,
                payload: payload.to_owned(),
            });
        }
        entries.sort_by_key(|entry| entry.sequence);
        Ok(entries)
    }

    fn heartbeats(&mut self) -> Result<Vec<HeartbeatRecord>, StateError> {
        let unreadable = self.metrics.unreadable_records.clone();
        let transaction = self.read()?;
        let table = match transaction.open_table(HEARTBEATS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(storage(error)),
        };
        let mut records = Vec::new();
        for row in table.iter().map_err(storage)? {
            let (name, bytes) = row.map_err(storage)?;
            match record::decode_heartbeat(name.value(), bytes.value()) {
                Ok(record) => records.push(record),
                Err(error) => {
                    unreadable.inc();
                    tracing::error!(heartbeat = name.value(), %error, "A stored heartbeat cannot be read");
                }
            }
        }
        Ok(records)
    }
}

fn id(key: &RuleKey) -> RuleId<'_> {
    (&key.file, &key.group, &key.rule, &key.labels, key.ordinal)
}

fn write_changes(transaction: &WriteTransaction, changes: &Changes) -> Result<(), redb::Error> {
    if !changes.rules.is_empty() || !changes.removed_rules.is_empty() {
        let mut rules = transaction.open_table(RULES)?;
        let mut alerts = transaction.open_table(ALERTS)?;
        for RuleChanges { key, evaluated_at, alerts: changed, removed, .. } in &changes.rules {
            let id = id(key);
            for fingerprint in removed {
                alerts.remove((id, *fingerprint))?;
            }
            for alert in changed {
                alerts.insert((id, alert.labels.hash64()), record::encode(alert).as_slice())?;
            }
            if alerts.range((id, 0)..=(id, u64::MAX))?.next().is_some() {
                rules.insert(id, *evaluated_at)?;
            } else {
                rules.remove(id)?;
            }
        }
        for key in &changes.removed_rules {
            let id = id(key);
            rules.remove(id)?;
            alerts.retain_in((id, 0)..=(id, u64::MAX), |_, _| false)?;
        }
    }
    if !changes.outbox.is_empty() || !changes.delivered.is_empty() {
        let mut outbox = transaction.open_table(OUTBOX)?;
        for entry in &changes.outbox {
            let key = (entry.alertmanager.as_str(), entry.fingerprint);
            outbox.insert(key, (entry.sequence, entry.payload.as_slice()))?;
        }
        for key in &changes.delivered {
            let id = (key.alertmanager.as_str(), key.fingerprint);
            let current = outbox.get(id)?.map(|entry| entry.value().0);
            if key.sequence.is_none_or(|sequence| current == Some(sequence)) {
                outbox.remove(id)?;
            }
        }
    }
    if !changes.heartbeats.is_empty() || !changes.removed_heartbeats.is_empty() {
        let mut heartbeats = transaction.open_table(HEARTBEATS)?;
        for heartbeat in &changes.heartbeats {
            let bytes = record::encode_heartbeat(heartbeat);
            heartbeats.insert(heartbeat.name.as_str(), bytes.as_slice())?;
        }
        for name in &changes.removed_heartbeats {
            heartbeats.remove(name.as_str())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_commit_does_not_wait_for_a_disk_that_hangs() {
        // Nobody takes the command, as if the thread hung in the one before.
        let (commands, inbox) = mpsc::channel(1);
        let metrics = Metrics::default();
        let store = RedbStore {
            commands: Some(commands),
            thread: None,
            ended: CancellationToken::new(),
            reading: Semaphore::new(1),
            metrics: metrics.clone(),
        };
        let removed_heartbeats = vec!["backup".to_owned()];
        for failures in 1..=3 {
            // From the second one on the queue is full.
            let changes = Changes { removed_heartbeats: removed_heartbeats.clone(), ..Changes::default() };
            let began = Instant::now();
            let error = store.commit(changes).await.expect_err("nobody has written it");
            assert_eq!(error.to_string(), "state store: not written within 10s");
            assert_eq!((began.elapsed(), metrics.commit_failures.get()), (PATIENCE, failures));
        }
        drop(inbox);
        let changes = Changes { removed_heartbeats, ..Changes::default() };
        let error = store.commit(changes).await.expect_err("nobody will write it");
        assert_eq!(error.to_string(), "state store is closed");
        assert_eq!(metrics.commit_failures.get(), 4);
    }
}
