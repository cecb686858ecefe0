//! Where things are: the workspace, its target folder, the built binary, cargo itself.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, else `target` in the workspace.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The binary that `build::release` makes.
pub(crate) fn tracer() -> PathBuf {
    target().join("release").join("dockernet-trace")
}

/// True in continuous integration, where what cannot run is a failure.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// `cargo`, run in the workspace, with the kernel half not skipped.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    // Editors set this; a binary without its kernel half is never what these commands are for.
    command.env_remove("AYA_BUILD_SKIP");
    // `cargo run` told us these about xtask. Build scripts that watch them (ring's does) would run again, and all that
    // needs them be rebuilt, whenever plain cargo and xtask take turns.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
