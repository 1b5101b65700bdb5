//! From what was found to the text of a configuration. Pure.

use std::fmt::Write;

use super::scan::Machine;

/// A commented configuration that watches what was found. What was not found is shown as a comment.
pub(super) fn configuration(machine: &Machine) -> String {
    let mut text = String::new();
    write_all(&mut text, machine).expect("writing to a String cannot fail");
    text
}

fn write_all(text: &mut String, machine: &Machine) -> std::fmt::Result {
    text.write_str(
        "# Configuration of valmis. All keys are optional; `valmis config check FILE` finds faults.\n\n\
         listen: 127.0.0.1:9797\n\
         storage: {path: ./valmis-data, retention: 24h, max_memory: 256MiB}\n\n\
         # Labels that every alert carries to Alertmanager.\n\
         # external_labels: {cluster: production}\n\n\
         # `url` is probed, `metrics` is scraped under job=<name>.\n",
    )?;
    if machine.apps.is_empty() {
        text.write_str(
            "# apps:\n\
             #   - name: backend\n\
             #     url: http://127.0.0.1:3000/health\n\
             #     metrics: http://127.0.0.1:3000/metrics\n",
        )?;
    } else {
        text.write_str("apps:\n")?;
        for app in &machine.apps {
            let (address, health) = (app.address, app.health);
            writeln!(text, "  - name: app-{}", address.port())?;
            writeln!(text, "    url: http://{address}{health}")?;
            if app.metrics {
                writeln!(text, "    metrics: http://{address}/metrics")?;
            }
        }
    }
    text.write_str(
        "\n# At most two connections each; `valmis postgres role` prints the SQL of a role for them.\n",
    )?;
    let comment = if machine.postgres.is_some() { "" } else { "# " };
    let server = machine.postgres.map_or_else(|| "127.0.0.1:5432".to_owned(), |address| address.to_string());
    writeln!(text, "{comment}postgres:")?;
    writeln!(text, "{comment}  - name: postgres")?;
    writeln!(text, "{comment}    dsn: postgres://valmis@{server}/postgres?sslmode=prefer")?;
    writeln!(text, "{comment}    # password_file: /run/secrets/pg   # or password_env: NAME")?;
    text.write_str(
        "\n# Default: every real, writable mount.\n\
         # disks:\n\
         #   - path: /\n\n\
         # What TLS servers present, and what lies in files.\n",
    )?;
    if machine.tls_servers.is_empty() && machine.certificate_files.is_empty() {
        text.write_str(
            "# certificates:\n\
             #   - name: web\n\
             #     url: https://127.0.0.1:8443\n\
             #   - name: files\n\
             #     file: /etc/valmis/tls/*.pem\n",
        )?;
    } else {
        text.write_str("certificates:\n")?;
        for address in &machine.tls_servers {
            writeln!(text, "  - name: tls-{}", address.port())?;
            writeln!(text, "    url: https://{address}")?;
        }
        for (index, files) in machine.certificate_files.iter().enumerate() {
            writeln!(text, "  - name: files-{}", index + 1)?;
            writeln!(text, "    file: {files}")?;
        }
    }
    text.write_str("\n# Each Alertmanager gets every alert.\n")?;
    match machine.alertmanager {
        Some(address) => writeln!(text, "alertmanagers:\n  - url: http://{address}")?,
        None => text.write_str("# alertmanagers:\n#   - url: http://127.0.0.1:9093\n")?,
    }
    text.write_str(
        "\n# The bundled rules, and files: Prometheus rule files or PrometheusRule manifests.\n\
         rules:\n\
         \x20 - builtin\n\
         # - ./my-rules/*.yaml\n",
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::init::scan::App;
    use crate::config::{Surroundings, read};

    fn config(machine: &Machine) -> crate::config::Config {
        let text = configuration(machine);
        let surroundings = Surroundings { environment: &|_| None, folder: Path::new("") };
        let (config, findings) = read("valmis.yaml", &text, &surroundings);
        assert!(findings.is_empty(), "{findings:?} in:\n{text}");
        config
    }

    #[test]
    fn what_was_found_is_configured() {
        let address = |text: &str| text.parse().expect("an address");
        let machine = Machine {
            apps: vec![App { address: address("127.0.0.1:3000"), health: "/healthz", metrics: true }],
            postgres: Some(address("127.0.0.1:5433")),
            tls_servers: vec![address("[::1]:8443")],
            certificate_files: vec!["/etc/letsencrypt/live/*/fullchain.pem".to_owned()],
            alertmanager: Some(address("127.0.0.1:9093")),
        };
        let config = config(&machine);
        let app = &config.apps[0];
        assert_eq!(
            app.url.as_ref().map(ToString::to_string).as_deref(),
            Some("http://127.0.0.1:3000/healthz")
        );
        assert!(app.metrics.is_some());
        assert_eq!((config.postgres.len(), config.certificates.len(), config.alertmanagers.len()), (1, 2, 1));
        assert!(config.rules.builtin);
    }

    #[test]
    fn an_empty_machine_gives_a_valid_configuration_too() {
        let config = config(&Machine::default());
        assert!(config.apps.is_empty() && config.postgres.is_empty() && config.alertmanagers.is_empty());
    }
}
