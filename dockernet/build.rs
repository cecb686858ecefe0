//! Builds the kernel half and leaves it in `OUT_DIR` for `include_bytes!`.
//!
//! `DOCKERNET_BPF_TOOLCHAIN` names the rustup toolchain (`cargo xtask build` sets it); the default is `nightly`.
//! With `AYA_BUILD_SKIP=1` (editors, `cargo check` on machines without the eBPF toolchain) an empty object is used.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed=DOCKERNET_BPF_TOOLCHAIN");
    let object =
        PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR not set")?).join("dockernet-ebpf");
    if env::var_os("AYA_BUILD_SKIP").is_some_and(|value| value == "1") {
        fs::write(&object, []).context("writing the empty kernel object")?;
    }
    let manifest = env::var("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR not set")?;
    println!("cargo:rerun-if-changed={manifest}/../dockernet-common/src");
    let toolchain = env::var("DOCKERNET_BPF_TOOLCHAIN");
    if toolchain.is_ok() {
        // A released compiler builds `core` for the bpf target only with this set. For the kernel half's build alone:
        // set for all of cargo, it would rebuild every crate that looks at it.
        // SAFETY: a build script has one thread.
        unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
    }
    aya_build::build_ebpf(
        [Package {
            name: "dockernet-ebpf",
            root_dir: &format!("{manifest}/../dockernet-ebpf"),
            ..Package::default()
        }],
        toolchain
            .as_deref()
            .map_or(Toolchain::Nightly, Toolchain::Custom),
    )
}
