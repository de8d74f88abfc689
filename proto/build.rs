//! Compiles the contract with protox, so that no protoc is needed on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=sealgate/v1/planes.proto");
    let descriptors = protox::compile(["sealgate/v1/planes.proto"], ["."])?;
    // Messages that carry an intermediate key must not print it: their Debug is written by hand in lib.rs.
    tonic_prost_build::configure()
        .skip_debug(["sealgate.v1.Key", "sealgate.v1.SigningKey"])
        .compile_fds(descriptors)?;
    Ok(())
}
