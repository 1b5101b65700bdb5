//! From the configuration to the components that are probed.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use anyhow::{Context, Result};
use xxhash_rust::xxh64::Xxh64;

use super::renewals;
use crate::blackbox::{ModuleTarget, ScheduledTarget};
use crate::client::SecretSource;
use crate::clock::SharedClock;
use crate::config::{
    AppConfig, CertificateConfig, CertificateSource, Config, DiskConfig, HttpExpectations, MachineConfig,
    Pace, PostgresConfig, ProbeConfig, RedisConfig, TlsServer,
};
use crate::model::Labels;
use crate::probe::certificate::{
    CertificateFiles, CertificateFilesProber, ComparedProber, ServedCertificateConfig, TlsProber,
};
use crate::probe::disk::{self, Discovery, DiskProber};
use crate::probe::http::{HttpConfig, HttpProber};
use crate::probe::node::NodeProber;
use crate::probe::postgres::{self, Dsn, Password, PostgresProber};
use crate::probe::redis::{self, RedisProber};
use crate::probe::{AddressPolicy, Pattern, Prober};
use crate::readiness::{Component, Key, Kind, ModuleInfo, Thresholds};
use crate::storage::Queryable;
use crate::textfile::TextfileProber;

/// The label `instance` of what concerns the machine itself.
pub(super) fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// Everything that the configuration names, except file systems that have to be found first.
pub(super) async fn configured(
    config: &Config,
    clock: &SharedClock,
    store: &dyn Queryable,
) -> Result<Vec<Component>> {
    let mut components = Vec::new();
    for app in &config.apps {
        if let (Some(url), Some(instance)) = (&app.url, app.instance()) {
            let prober = HttpProber::new(http_config(app, url)?, clock.clone())
                .with_context(|| format!("app `{}`", app.name))?;
            components.push(component(Kind::App, &app.name, instance, app.pace, app, prober));
        }
    }
    for server in &config.postgres {
        components.push(postgres(server)?);
    }
    components.extend(config.redis.iter().map(|server| redis(server, clock)));
    components.extend(machine(&config.machine, clock)?);
    components.extend(textfiles(&config.machine));
    let kernel = Arc::new(kernel(&config.machine));
    components.extend(config.disks.iter().map(|watched| disk(watched, &config.machine, &kernel)));
    for watched in &config.certificates {
        components.push(certificate(watched, clock, store).await);
    }
    components.extend(config.probes.iter().flat_map(|probe| probes(probe, clock)));
    Ok(components)
}

fn component(
    kind: Kind,
    name: &str,
    instance: String,
    pace: Pace,
    configured_as: &impl Hash,
    prober: impl Prober + 'static,
) -> Component {
    Component {
        key: Key { kind, name: name.to_owned() },
        prober: Arc::new(prober),
        interval: pace.interval,
        timeout: pace.timeout,
        thresholds: thresholds(pace),
        job: kind.conventional_job().to_owned(),
        instance,
        labels: Labels::empty(),
        counts: true,
        module: None,
        revision: revision(configured_as),
    }
}

pub(super) fn thresholds(pace: Pace) -> Thresholds {
    Thresholds { failure: pace.failure_threshold, success: pace.success_threshold }
}

/// Equal for configurations that are alike, secrets included.
fn revision(configured_as: &impl Hash) -> u64 {
    let mut hasher = Xxh64::new(0);
    configured_as.hash(&mut hasher);
    hasher.finish()
}

fn http_config(app: &AppConfig, url: &url::Url) -> Result<HttpConfig> {
    let HttpExpectations { status, body_matches, body_not_matches, follow_redirects } = &app.expect;
    let mut config = HttpConfig::new(url.clone());
    config.method = app.method.clone();
    for (name, value) in &app.headers {
        let name = hyper::header::HeaderName::try_from(name)
            .with_context(|| format!("app `{}`: `{name}` is not a header name", app.name))?;
        let mut value = hyper::header::HeaderValue::try_from(value.expose()).with_context(|| {
            format!("app `{}`: header `{name}` has a value that cannot be sent", app.name)
        })?;
        value.set_sensitive(true);
        config.headers.insert(name, value);
    }
    config.body = app.body.as_ref().map(|body| body.expose().to_owned().into()).unwrap_or_default();
    config.credentials = app.auth.clone().map(Into::into);
    config.valid_status_codes = status.iter().map(|code| *code..=*code).collect();
    config.follow_redirects = *follow_redirects;
    let compile = |patterns: &[String]| {
        patterns
            .iter()
            .map(|pattern| Pattern::new(pattern))
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("app `{}`", app.name))
    };
    config.fail_if_body_matches = compile(body_not_matches)?;
    config.fail_if_body_not_matches = compile(body_matches)?;
    config.tls = app.tls.clone().into();
    Ok(config)
}

fn postgres(server: &PostgresConfig) -> Result<Component> {
    let dsn = Dsn::parse(server.dsn.expose()).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("postgres `{}`: {}", server.name, errors.join("; "))
    })?;
    let password = match &server.password {
        None => Password::InDsn,
        Some(SecretSource::Value(secret)) => Password::Value(secret.clone()),
        Some(SecretSource::File(path)) => Password::File(path.clone()),
    };
    let instance = dsn.address();
    let selection = server.selection.clone();
    let prober = PostgresProber::new(postgres::Target { dsn, password, role: server.role, selection });
    Ok(component(Kind::Postgres, &server.name, instance, server.pace, server, prober))
}

/// A component for each target. Its name is that of the probe, with the target if there are several.
fn probes(probe: &ProbeConfig, clock: &SharedClock) -> Vec<Component> {
    let timeout = probe.module.timeout().map_or(probe.pace.timeout, |most| most.min(probe.pace.timeout));
    let pace = Pace { timeout, ..probe.pace };
    let module =
        ModuleInfo { name: probe.module.name().into(), configuration: probe.module.configuration().clone() };
    let component_of = |target: &String| {
        let name = match probe.targets.as_slice() {
            [_] => probe.name.clone(),
            _ => format!("{} {target}", probe.name),
        };
        let asked = ModuleTarget::new(&probe.module, target, None, clock);
        let prober = ScheduledTarget { target: asked, timeout };
        // Not the other targets: they may come and go.
        let configured_as = (&probe.name, &probe.module, target, probe.readiness, &probe.labels, pace);
        let component = component(Kind::Probe, &name, target.clone(), pace, &configured_as, prober);
        Component {
            job: probe.name.clone(),
            labels: Labels::from_pairs(&probe.labels),
            counts: probe.readiness,
            module: Some(module.clone()),
            ..component
        }
    };
    probe.targets.iter().map(component_of).collect()
}

fn redis(server: &RedisConfig, clock: &SharedClock) -> Component {
    let config = redis::RedisConfig {
        address: server.address.clone(),
        username: server.username.clone(),
        password: server.password.clone(),
        tls: server.tls.clone().into(),
    };
    let prober = RedisProber::new(config, clock.clone());
    component(Kind::Redis, &server.name, server.address.to_string(), server.pace, server, prober)
}

/// The machine itself, if it is to be told of.
fn machine(machine: &MachineConfig, clock: &SharedClock) -> Result<Option<Component>> {
    if !machine.enabled {
        return Ok(None);
    }
    let prober = NodeProber::new(machine.node().context("machine")?, clock.clone());
    // Not what components of their own look at: file systems and the files that jobs write.
    let configured_as = MachineConfig {
        mount_points_exclude: String::new(),
        fs_types_exclude: String::new(),
        textfile_directory: None,
        ..machine.clone()
    };
    Ok(Some(component(Kind::Machine, "host", machine_name(), machine.pace, &configured_as, prober)))
}

/// What jobs leave in files, if a folder for them is named.
fn textfiles(machine: &MachineConfig) -> Option<Component> {
    let folder = machine.textfile_directory.clone()?;
    let prober = TextfileProber::new(folder);
    let configured_as = (&machine.textfile_directory, machine.pace);
    Some(component(Kind::Machine, "textfiles", machine_name(), machine.pace, &configured_as, prober))
}

/// Where mounts and file systems are looked for.
pub(super) fn kernel(machine: &MachineConfig) -> disk::Kernel {
    disk::Kernel { procfs: machine.paths.procfs.clone(), rootfs: machine.rootfs.clone() }
}

/// Which file systems are watched when none is named.
pub(super) fn disk_discovery(machine: &MachineConfig) -> Result<Discovery> {
    Discovery::new(&machine.mount_points_exclude, &machine.fs_types_exclude).context("machine")
}

fn disk(watched: &DiskConfig, machine: &MachineConfig, kernel: &Arc<disk::Kernel>) -> Component {
    let name = watched.path.display().to_string();
    let target = disk::Target { path: watched.path.clone(), writable: true, mounted: false };
    let prober = DiskProber::new(target, kernel.clone(), kernel.clone());
    let configured_as = (watched, &machine.paths.procfs, &machine.rootfs);
    component(Kind::Disk, &name, machine_name(), watched.pace, &configured_as, prober)
}

async fn certificate(watched: &CertificateConfig, clock: &SharedClock, store: &dyn Queryable) -> Component {
    let served = async |server: &TlsServer| {
        let config = ServedCertificateConfig {
            host: server.host.clone(),
            port: server.port,
            starttls: server.starttls,
            addresses: AddressPolicy::default(),
            tls: watched.tls.clone().into(),
        };
        let known = renewals::of(store, &server.instance(), clock.now()).await;
        TlsProber::new(config, clock.clone()).noting_renewals(known)
    };
    let in_files =
        |files: &CertificateFiles| CertificateFilesProber::new(&watched.name, files.clone(), clock.clone());
    let (name, pace) = (&watched.name, watched.pace);
    match &watched.source {
        CertificateSource::Server(server) => {
            component(Kind::Certificate, name, server.instance(), pace, watched, served(server).await)
        }
        CertificateSource::Files(files) => {
            component(Kind::Certificate, name, machine_name(), pace, watched, in_files(files))
        }
        CertificateSource::ServedFromFiles(server, files) => {
            let prober = ComparedProber::new(served(server).await, in_files(files));
            component(Kind::Certificate, name, server.instance(), pace, watched, prober)
        }
    }
}
