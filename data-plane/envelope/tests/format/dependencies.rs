//! The crate is synchronous and links no runtime, no HTTP and no second TLS or crypto library.

use std::process::Command;

#[test]
fn no_runtime_and_no_http() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "-p", "sealgate-envelope", "-e", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(
        names.contains(&"aws-lc-rs") && names.contains(&"aes-gcm"),
        "the list is the crate's own: {tree}"
    );
    for banned in
        ["tokio", "hyper", "http", "actix-rt", "futures-core", "mio", "openssl-sys", "ring", "reqwest"]
    {
        assert!(!names.contains(&banned), "{banned} is linked:\n{tree}");
    }
}
