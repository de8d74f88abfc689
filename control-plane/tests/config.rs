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

/// The example with other KMS providers than the keyring.
fn with_kms(tables: &str) -> String {
    let (before, rest) = EXAMPLE.split_once("[kms]").unwrap();
    let (_, after) = rest.split_once("[buckets]").unwrap();
    format!("{before}{tables}\n[buckets]{after}")
}

const VAULT: &str = r#"
[kms.vault.vault-eu]
addresses = ["https://bao-1.internal:8200"]
auth = { method = "approle", role_id = "role", secret_id_file = "/etc/sealgate/secret-id" }
"#;
const AWS: &str = "[kms.aws.aws-eu]\nregion = \"eu-central-1\"\n";
const LOCAL: &str = "[kms.local]\nkeyring = \"/k\"\nkey_file = \"/f\"\n";

#[test]
fn several_providers_and_which_of_them_holds_what() {
    for (tables, default, system) in [
        (format!("[kms]\ndefault = \"vault-eu\"{VAULT}"), "vault-eu", "vault-eu"),
        (format!("[kms]\ndefault = \"aws-eu\"\n{LOCAL}{VAULT}{AWS}"), "aws-eu", "local"),
        (format!("[kms]\nsystem = \"vault-eu\"\n{LOCAL}{VAULT}"), "local", "vault-eu"),
    ] {
        let config = load(&with_kms(&tables)).unwrap();
        assert_eq!((config.kms.default.as_str(), config.kms.system.as_str()), (default, system), "{tables}");
    }
}

#[test]
fn providers_that_cannot_be_are_refused_and_named() {
    for (tables, expected) in [
        ("[kms]\n".to_owned(), "at least one of kms.local"),
        (VAULT.to_owned(), "kms.default: one of vault-eu"),
        (
            format!("{LOCAL}{}", VAULT.replace("vault-eu", "Vault_EU")),
            "kms.vault.Vault_EU: a provider's name",
        ),
        (format!("{LOCAL}{}", AWS.replace("aws-eu", "local")), "kms.aws.local: that name is the keyring's"),
        (
            format!("{LOCAL}{VAULT}{}", AWS.replace("aws-eu", "vault-eu")),
            "kms.vault.vault-eu and kms.aws.vault-eu",
        ),
        (format!("{LOCAL}{VAULT}token = \"x\"\n"), "token"),
        (format!("{LOCAL}{}", VAULT.replace("approle", "magic")), "magic"),
        (format!("{LOCAL}{AWS}secret_access_key = \"x\"\n"), "secret_access_key"),
    ] {
        let error = load(&with_kms(&tables)).unwrap_err();
        assert!(error.contains(expected), "{tables}: {error}");
    }
}

#[test]
fn the_kms_alone_is_read_from_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.toml");
    fs::write(&path, format!("something_else = 1\n[kms]\ndefault = \"vault-eu\"{VAULT}")).unwrap();
    assert_eq!(sealgate_control_plane::config::kms(&path).unwrap().names(), ["vault-eu"]);
    fs::write(&path, "data_dir = \"/d\"\n").unwrap();
    let error = sealgate_control_plane::config::kms(&path).unwrap_err().to_string();
    assert!(error.contains("kms.toml") && error.contains("kms"), "{error}");
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
