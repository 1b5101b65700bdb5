//! The commands, as people and scripts use them: what they print and how they exit.

use std::fs;
use std::net::TcpListener;
use std::process::Output;

use tempfile::TempDir;

use crate::real::valmis::command;

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(folder: &TempDir, arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = command(folder.path()).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

#[test]
fn the_configuration_that_init_writes_is_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let written = run(&folder, &["init"]);
    assert_eq!((written.code, written.stderr.as_str()), (0, ""), "{}", written.stdout);
    assert!(written.stdout.contains("wrote valmis.yaml"), "{}", written.stdout);
    let checked = run(&folder, &["config", "check", "valmis.yaml"]);
    assert_eq!((checked.code, checked.stdout.as_str()), (0, "valmis.yaml: no faults found\n"));

    let text = fs::read_to_string(folder.path().join("valmis.yaml")).unwrap();
    let again = run(&folder, &["init"]);
    assert_eq!(again.code, 2);
    assert_eq!(again.stderr, "valmis: `valmis.yaml` exists already; `--force` replaces it\n");
    assert_eq!(fs::read_to_string(folder.path().join("valmis.yaml")).unwrap(), text);
    // Not the same: what the machine runs may have changed in between.
    let shown = run(&folder, &["init", "--stdout"]);
    assert_eq!((shown.code, shown.stdout.lines().next()), (0, text.lines().next()));
}

#[test]
fn every_fault_of_a_configuration_is_printed_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let text = "listen: nowhere\napps:\n  - name: backend\n    interval: 5 minutes\n";
    fs::write(folder.path().join("bad.yaml"), text).unwrap();
    let checked = run(&folder, &["config", "check", "bad.yaml", "absent.yaml"]);
    assert_eq!((checked.code, checked.stderr.as_str()), (1, ""));
    insta::assert_snapshot!(checked.stdout, @r#"
    bad.yaml:1:9: `listen` must be an address with a port, not `nowhere`
      hint: write `127.0.0.1:9797`, or `:9797` for all interfaces
    bad.yaml:3:5: an app needs `url`, `metrics` or both
      hint: `url` is probed, `metrics` is scraped
    bad.yaml:4:15: `interval`: unknown unit " minutes" in duration "5 minutes"
      hint: write a duration such as `15s`, `5m` or `1h30m`
    absent.yaml: cannot read the configuration: No such file or directory (os error 2)
      hint: `valmis init` writes one for this machine
    "#);
}

#[test]
fn a_start_that_cannot_succeed_says_why_and_leaves_no_data() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.yaml"), "listn: ':1'\n").unwrap();
    let bad = run(&folder, &["serve", "--config", "bad.yaml"]);
    assert_eq!((bad.code, bad.stdout.as_str()), (2, ""));
    assert!(
        bad.stderr.starts_with("valmis: bad.yaml:1:1: the configuration has no key `listn`"),
        "{}",
        bad.stderr
    );

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(&folder, &["serve", "--listen", &address]);
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
    assert!(refused.stderr.contains(&format!("cannot listen on {address}")), "{}", refused.stderr);
    assert!(!folder.path().join("valmis-data").exists());

    let unknown = run(&folder, &["srve"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("'serve'"), "{}", unknown.stderr);
}

#[test]
fn two_of_them_do_not_share_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0"];
    let mut first = command(folder.path());
    let first = crate::real::process::Process::start(first.args(arguments), folder.path());
    let deadline = std::time::Instant::now() + crate::real::PATIENCE;
    while first.output().is_empty() {
        assert!(std::time::Instant::now() < deadline, "{}", first.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let second = run(&folder, &arguments);
    assert_eq!((second.code, second.stdout.as_str()), (2, ""), "{}", second.stderr);
}
