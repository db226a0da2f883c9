//! Compiles the proto with protox, so that no protoc is needed.

use std::{env, error::Error, fs, path::Path};

use prost::Message;

const PROTOS: [&str; 2] = ["mechanic/v1/probe_service.proto", "mechanic/v1/fleet_service.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/mechanic");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("mechanic.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .bytes(".mechanic.v1.Observation.document")
        .compile_fds(descriptors)?;
    Ok(())
}
