//! The probe of Redis, against a real server.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use valmis::client::SecretSource;
use valmis::model::Secret;
use valmis::probe::redis::{METADATA, RedisAddress, RedisConfig, RedisProber};
use valmis::probe::tls::TlsConfig;
use valmis::probe::{ProbeOutcome, Prober};

use crate::cli::cli_with;
use crate::real::postgres::free_port;
use crate::real::process::Process;
use crate::real::valmis::{COMMON, NO_DISK, Valmis, all_quick_rules};
use crate::real::{turn, within};
use crate::servers::{answer, assert_well_formed, clock, listen, probe_within, value};
use crate::tools::{run, tool};

/// What must occur in no output.
const PASSWORD: &str = "canary-5c1d";

struct Redis {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl Redis {
    async fn start(arguments: &[&str]) -> Option<Self> {
        let program = tool("bin/redis-server")?;
        let folder = TempDir::with_prefix("valmis-redis-").unwrap();
        let port = free_port();
        let mut command = Command::new(program);
        command.current_dir(folder.path()).args([
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--bind",
            "127.0.0.1",
        ]);
        command.args(arguments);
        let mut process = Process::start(&mut command, folder.path());
        process
            .in_log("a ready Redis", |line| line.contains("Ready to accept connections").then_some(()))
            .await;
        Some(Self { process, port, _folder: folder })
    }

    fn say(&self, words: &[&str]) -> String {
        let cli = tool("bin/redis-cli").expect("it comes with the server");
        run(Command::new(cli).args(["-p", &self.port.to_string()]).args(words))
    }

    fn prober(&self, password: Option<&str>) -> RedisProber {
        prober(self.port, password.map(|password| SecretSource::Value(Secret::new(password))))
    }
}

fn prober(port: u16, password: Option<SecretSource>) -> RedisProber {
    let address = RedisAddress { host: "127.0.0.1".to_owned(), port, tls: false };
    RedisProber::new(RedisConfig { address, username: None, password, tls: TlsConfig::default() }, clock())
}

async fn look(prober: &dyn Prober) -> ProbeOutcome {
    let outcome = probe_within(prober, Duration::from_secs(2)).await;
    assert_well_formed(&outcome, METADATA);
    assert!(!format!("{outcome:?}").contains(PASSWORD), "{outcome:?}");
    let error = value(&outcome, "redis_exporter_last_scrape_error", &[]).unwrap();
    let is_unknown = outcome.result.as_ref().is_err_and(|failure| failure.unknown);
    assert_eq!(value(&outcome, "redis_up", &[]), (!is_unknown).then_some(1.0 - error));
    outcome
}

fn kind(outcome: &ProbeOutcome) -> &'static str {
    outcome.result.as_ref().map_or_else(|failure| failure.kind, |()| "ok")
}

/// Looks until the verdict is `expected`.
async fn wait_for(prober: &dyn Prober, expected: &str) -> ProbeOutcome {
    within(Duration::from_secs(20), expected, async || {
        let outcome = look(prober).await;
        if kind(&outcome) == expected { Ok(outcome) } else { Err(format!("{:?}", outcome.result)) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_down_or_almost_full_is_reported_until_it_is_well() {
    let _turn = turn().await;
    let arguments = ["--maxmemory", "200mb", "--maxmemory-policy", "noeviction"];
    let Some(redis) = Redis::start(&arguments).await else { return };
    let configuration = format!(
        "{COMMON}{NO_DISK}redis: [{{name: cache, address: '127.0.0.1:{}', interval: 1s, timeout: 800ms}}]\n",
        redis.port
    );
    let valmis = Valmis::start_with(&configuration, &all_quick_rules()).await;
    valmis.wait_all_ready().await;
    redis.process.signal(Signal::STOP);
    valmis.wait_for_alert("firing", "RedisDown").await;
    redis.process.signal(Signal::CONT);
    valmis.wait_for_end("RedisDown").await;
    // What it uses without any data is more than that.
    redis.say(&["CONFIG", "SET", "maxmemory", "1000000"]);
    valmis.wait_for_alert("firing", "RedisMemoryAlmostFull").await;
    redis.say(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    valmis.wait_for_end("RedisMemoryAlmostFull").await;
    valmis.wait_all_ready().await;
}

#[tokio::test]
async fn a_server_that_works_is_up_and_tells_what_dashboards_show() {
    let Some(redis) = Redis::start(&["--maxclients", "123"]).await else { return };
    redis.say(&["SET", "key", "value", "EX", "1000"]);
    redis.say(&["GET", "key"]);
    redis.say(&["GET", "nothing"]);
    let outcome = look(&redis.prober(None)).await;
    assert_eq!(outcome.result, Ok(()), "{:?}", outcome.log);
    let check = |name: &str, labels: &[(&str, &str)], expected: f64| {
        assert_eq!(value(&outcome, name, labels), Some(expected), "{name} {labels:?}");
    };
    check("redis_up", &[], 1.0);
    check("redis_config_maxclients", &[], 123.0);
    check("redis_memory_max_bytes", &[], 0.0);
    check("redis_db_keys", &[("db", "db0")], 1.0);
    check("redis_db_keys_expiring", &[("db", "db0")], 1.0);
    check("redis_keyspace_hits_total", &[], 1.0);
    check("redis_keyspace_misses_total", &[], 1.0);
    check("redis_evicted_keys_total", &[], 0.0);
    check("redis_rejected_connections_total", &[], 0.0);
    check("redis_connected_slaves", &[], 0.0);
    check("redis_blocked_clients", &[], 0.0);
    check("redis_connected_clients", &[], 1.0);
    check("redis_rdb_last_bgsave_status", &[], 1.0);
    check("redis_aof_enabled", &[], 0.0);
    check("redis_slowlog_length", &[], 0.0);
    check("redis_commands_total", &[("cmd", "get")], 2.0);
    check("redis_instance_info", &[("role", "master"), ("redis_mode", "standalone")], 1.0);
    assert!(value(&outcome, "redis_memory_used_bytes", &[]).unwrap() > 100_000.0);
    assert!(value(&outcome, "redis_uptime_in_seconds", &[]).is_some());
    assert!(value(&outcome, "redis_total_system_memory_bytes", &[]).is_some());
}

#[tokio::test]
async fn who_has_the_wrong_password_or_none_is_told_so_without_showing_it() {
    let Some(redis) = Redis::start(&["--requirepass", PASSWORD]).await else { return };
    assert_eq!(look(&redis.prober(Some(PASSWORD))).await.result, Ok(()));
    for wrong in [None, Some("wrong")] {
        let outcome = look(&redis.prober(wrong)).await;
        assert_eq!(kind(&outcome), "auth", "{:?}", outcome.result);
        assert_eq!(value(&outcome, "redis_up", &[]), Some(0.0));
        assert_eq!(value(&outcome, "redis_memory_used_bytes", &[]), None);
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    let from_file = prober(redis.port, Some(SecretSource::File(file.clone())));
    let outcome = look(&from_file).await;
    assert_eq!(kind(&outcome), "password");
    assert!(outcome.result.unwrap_err().unknown);
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    assert_eq!(look(&from_file).await.result, Ok(()));
}

#[tokio::test]
async fn a_server_that_hangs_is_down_in_time_and_up_again_when_it_goes_on() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let prober = redis.prober(None);
    // The wrapper becomes the server, so that the signal reaches it.
    redis.process.signal(Signal::STOP);
    let outcome = probe_within(&prober, Duration::from_millis(300)).await;
    assert_eq!(kind(&outcome), "timeout", "{:?}", outcome.result);
    assert_eq!(value(&outcome, "redis_up", &[]), Some(0.0));
    redis.process.signal(Signal::CONT);
    wait_for(&prober, "ok").await;
}

#[tokio::test]
async fn memory_at_its_limit_is_a_fault_only_where_nothing_may_be_evicted() {
    let Some(redis) = Redis::start(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]).await else {
        return;
    };
    let prober = redis.prober(None);
    assert_eq!(look(&prober).await.result, Ok(()));
    let fill = "for i=1,500 do redis.call('SET', KEYS[1]..i, string.rep('x', 10000)) end";
    redis.say(&["EVAL", fill, "1", "k"]);
    let outcome = look(&prober).await;
    assert_eq!(kind(&outcome), "memory", "{:?}", outcome.result);
    assert_eq!(value(&outcome, "redis_up", &[]), Some(1.0));
    let used = value(&outcome, "redis_memory_used_bytes", &[]).unwrap();
    assert!(used >= value(&outcome, "redis_memory_max_bytes", &[]).unwrap());
    redis.say(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    redis.say(&["SET", "one", "more"]);
    let outcome = wait_for(&prober, "ok").await;
    assert!(value(&outcome, "redis_evicted_keys_total", &[]).unwrap() > 0.0);
}

#[tokio::test]
async fn a_replica_is_well_while_it_hears_from_its_master() {
    let Some(mut master) = Redis::start(&["--repl-diskless-sync-delay", "0"]).await else { return };
    let of = format!("127.0.0.1 {}", master.port);
    let Some(replica) = Redis::start(&["--replicaof", &of]).await else { return };
    let prober = replica.prober(None);
    let outcome = wait_for(&prober, "ok").await;
    let port = master.port.to_string();
    let link = [("master_host", "127.0.0.1"), ("master_port", port.as_str())];
    assert_eq!(value(&outcome, "redis_master_link_up", &link), Some(1.0));
    assert_eq!(value(&outcome, "redis_slave_info", &[("read_only", "1")]), Some(1.0));
    // The master calls it online once it has told that it holds all that it was sent.
    let of_master = master.prober(None);
    within(Duration::from_secs(20), "the replica online", async || {
        let seen = look(&of_master).await;
        assert_eq!(value(&seen, "redis_connected_slaves", &[]), Some(1.0));
        let online = [("slave_state", "online")];
        value(&seen, "redis_connected_slave_offset_bytes", &online)
            .ok_or_else(|| format!("{:?}", seen.samples))
    })
    .await;
    master.process.kill();
    let outcome = wait_for(&prober, "replication").await;
    assert_eq!(value(&outcome, "redis_up", &[]), Some(1.0));
    assert_eq!(value(&outcome, "redis_master_link_up", &link), Some(0.0));
}

#[tokio::test]
async fn one_can_be_looked_at_from_the_command_line() {
    let Some(redis) = Redis::start(&["--requirepass", PASSWORD]).await else { return };
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
    let address = format!("127.0.0.1:{}", redis.port);
    let probe = ["probe", "redis", &address];
    let check =
        async |environment: &[(&str, &str)], more: &[&str], code: i32, sample: &str, verdict: &str| {
            let ran = cli_with(folder.path(), environment, &[&probe[..], more].concat()).await;
            assert_eq!(ran.code, Some(code), "{ran:?}");
            assert!(ran.samples().contains(&sample) && ran.verdict().contains(verdict), "{ran:?}");
            assert!(!(ran.out + &ran.err).contains(PASSWORD));
        };
    check(&[], &["--password-file", "password"], 0, "redis_up 1", ": success").await;
    check(&[("REDISCLI_AUTH", PASSWORD)], &[], 0, "redis_up 1", ": success").await;
    check(&[], &[], 1, "redis_up 0", ": failure (auth): ").await;
    check(
        &[],
        &["--username", "nobody", "--password-file", "password"],
        1,
        "redis_up 0",
        ": failure (auth): ",
    )
    .await;
    let ran = cli_with(folder.path(), &[], &["probe", "redis", "redis://:hunter2@h"]).await;
    assert!(ran.code == Some(2) && !ran.err.contains("hunter2"), "{ran:?}");
}

#[tokio::test]
async fn where_no_redis_is_the_reason_says_what_is() {
    let outcome = look(&prober(free_port(), None)).await;
    assert_eq!(kind(&outcome), "connect");
    let web = listen(|mut stream| async move {
        // As a web server does, once it has read as much as it understands.
        let mut request = [0; 64];
        let _ = stream.read(&mut request).await;
        answer(&mut stream, "HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let failure = look(&prober(web.port(), None)).await.result.unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        ("protocol", "expected an answer of Redis, got byte 0x48")
    );
}
