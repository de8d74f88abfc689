//! Configuration: the example is right, and mistakes are named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{fs, path::Path};

use sealgate_control_plane::Config;

const EXAMPLE: &str = include_str!("../../docs/examples/control-plane.toml");

fn load(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control-plane.toml");
    fs::write(&path, text).unwrap();
    Config::load(&path).map_err(|error| error.to_string())
}

#[test]
fn the_example_is_a_configuration() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/control-plane.toml");
    let config = Config::load(&path).unwrap();
    assert_eq!(config.defaults.regions, ["eu-central-1"]);
    assert!(!config.dev);
    assert!(config.grpc_names.contains(&"control-plane.sealgate.internal".to_owned()));
}

#[test]
fn mistakes_are_refused_and_named() {
    for (from, to, expected) in [
        ("drain_seconds = 10", "drain_second = 10", "drain_second"),
        ("drain_seconds = 10", "drain_seconds = 601", "0 to 600"),
        ("listen = \"127.0.0.1:9001\"", "listen = \"0.0.0.0:9001\"", "admin.certificate"),
        ("token_file = \"/etc/sealgate/admin-token\"", "", "admin.token_file"),
        ("# key_file", "key_file", "exactly one"),
        ("passphrase_file = ", "# ", "exactly one"),
        ("# default = \"local\"", "default = \"vault-eu\"", "kms.default: one of local"),
        ("# system = \"local\"", "system = \"vault-eu\"", "kms.system: one of local"),
        ("# default = \"local\"", "defualt = \"local\"", "defualt"),
        ("default_backend = \"main\"", "default_backend = \"other\"", "one of main"),
        ("regions = [\"eu-central-1\"]", "regions = []", "buckets.regions"),
        ("rate_per_second = 200", "rate_per_second = 0", "keys.rate_per_second"),
        ("listen = \"0.0.0.0:9443\"", "listen = \"somewhere\"", "grpc.listen"),
    ] {
        assert!(EXAMPLE.contains(from), "{from}");
        let error = load(&EXAMPLE.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(expected), "{to}: {error}");
        assert!(error.contains("control-plane.toml"), "the file is named: {error}");
    }
    assert!(Config::load(Path::new("/nowhere.toml")).unwrap_err().to_string().contains("no such file"));
}

#[test]
fn dev_makes_its_secrets_once_and_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let regions = vec!["eu-central-1".to_owned()];
    let first = Config::dev(dir.path(), regions.clone()).unwrap();
    let token = first.admin_token().unwrap();
    let second = Config::dev(dir.path(), regions).unwrap();
    assert_eq!(*token, *second.admin_token().unwrap());
    assert_eq!(token.len(), 64);
    let mode = fs::metadata(&first.admin_token_file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
