//! Certificates that are renewed, or not, beside a real server: what the program tells of it.

use crate::real::eventually;
use crate::real::tls_server::TlsServer;
use crate::real::valmis::{NO_DISK, Valmis};

/// The value of a series of the page of certificates, by its name and a text among its labels.
async fn value(valmis: &Valmis, name: &str) -> Option<f64> {
    let (_, page) = valmis.get("/metrics/certificates").await;
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn becomes(valmis: &Valmis, name: &str, expected: Option<f64>) {
    eventually(&format!("{name} {expected:?}"), async || match value(valmis, name).await {
        found if found == expected => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_renewal_is_proved_by_what_the_store_remembers_and_one_that_is_not_loaded_is_told() {
    const NOT_RELOADED: &str = "valmis_certificate_not_reloaded";
    const RENEWALS: &str = "valmis_certificate_renewals_total";
    const LAST: &str = "valmis_certificate_last_renewal_timestamp_seconds";

    let (server, folder) = (TlsServer::start().await, tempfile::tempdir().unwrap());
    let (on_disk, authority) = (folder.path().join("tls.crt"), folder.path().join("ca.crt"));
    server.fall_behind();
    server.write_certificate(&on_disk);
    server.write_authority(&authority);
    let entry = format!(
        "{NO_DISK}certificates:\n- {{name: shop, url: 'https://localhost:{}', file: {}, interval: 1s, \
         tls: {{ca_file: {}}}}}\n",
        server.address.port(),
        on_disk.display(),
        authority.display(),
    );
    let mut valmis = Valmis::start_with(&entry, &[]).await;
    // Renewed on disk, and the server shows the old one.
    becomes(&valmis, NOT_RELOADED, Some(1.0)).await;
    becomes(&valmis, RENEWALS, Some(0.0)).await;
    assert_eq!(value(&valmis, LAST).await, None);
    // The server loads it.
    server.renew();
    becomes(&valmis, NOT_RELOADED, Some(0.0)).await;
    becomes(&valmis, RENEWALS, Some(1.0)).await;
    let proved = value(&valmis, LAST).await;
    assert!(proved.is_some());
    // What was seen is known after an orderly end.
    assert!(valmis.terminate().await.success());
    valmis.restart().await;
    becomes(&valmis, RENEWALS, Some(1.0)).await;
    assert_eq!(value(&valmis, LAST).await, proved);
    // And after none, although meanwhile the server went back.
    server.fall_behind();
    becomes(&valmis, NOT_RELOADED, Some(1.0)).await;
    valmis.kill_9();
    valmis.restart().await;
    becomes(&valmis, RENEWALS, Some(1.0)).await;
    assert_eq!(value(&valmis, LAST).await, proved);
}

#[tokio::test]
async fn entries_that_look_at_the_same_files_are_told_apart() {
    let (server, folder) = (TlsServer::start().await, tempfile::tempdir().unwrap());
    server.write_certificate(&folder.path().join("tls.crt"));
    let root = folder.path().display();
    let entries = format!(
        "{NO_DISK}certificates:\n- {{name: one, file: {root}/tls.crt, interval: 1s}}\n\
         - {{name: two, directory: {root}, interval: 1s}}\n"
    );
    let valmis = Valmis::start_with(&entries, &[]).await;
    let page = eventually("both entries", async || {
        let (_, page) = valmis.get("/metrics").await;
        let both = ["one", "two"].iter().all(|name| page.contains(&format!("source_name=\"{name}\"")));
        if both { Ok(page) } else { Err(page) }
    })
    .await;
    let mut seen = std::collections::HashSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series), "`{series}` occurs twice");
    }
    assert!(!valmis.log().contains("were refused"), "{}", valmis.log());
}
