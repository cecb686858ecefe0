//! Bad usage and missing rights: a sentence, the right status, nothing attached.

use std::time::Duration;

use anyhow::{Result, ensure};
use dockernet_tests::{
    Cmd, Finished, Output, Tracer, can_run, patient, tool_for_anybody, tool_path,
};

/// Runs the tool to its end.
fn tool(args: &[&str]) -> Result<Output> {
    Cmd::new(tool_path()?).args(args).output()
}

fn refused(output: &Output, status: i32, words: &[&str]) -> Result<()> {
    ensure!(
        output.status == Some(status)
            && words.iter().all(|word| output.stderr.contains(word))
            && !output.stderr.contains("panicked"),
        "status {status} and {words:?} wanted, got {output:?}"
    );
    Ok(())
}

#[test]
fn unknown_cause_suggests_the_nearest() -> Result<()> {
    let output = tool(&["--cause", "interface-forwarding-disable"])?;
    refused(&output, 2, &["interface-forwarding-disabled"])
}

#[test]
fn unknown_reason_suggests_the_nearest() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let format = std::fs::read_to_string("/sys/kernel/tracing/events/skb/kfree_skb/format")?;
    // Before 5.17 there is nothing to suggest.
    let answer = if format.contains("reason") {
        "NETFILTER_DROP"
    } else {
        "no drop reasons"
    };
    refused(&tool(&["--reason", "NETFILTR_DROP"])?, 2, &[answer])
}

#[test]
fn malformed_netns_is_bad_usage() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    refused(&tool(&["--netns", "/nonexistent"])?, 2, &["/nonexistent"])?;
    refused(&tool(&["--netns", "/etc/passwd"])?, 2, &["/etc/passwd"])
}

#[test]
fn malformed_duration_is_bad_usage() -> Result<()> {
    refused(&tool(&["--duration", "ten"])?, 2, &["ten"])?;
    refused(&tool(&["--duration", "-1s"])?, 2, &[])
}

#[test]
fn unknown_option_is_bad_usage() -> Result<()> {
    refused(&tool(&["--dorps"])?, 2, &["--drops"])
}

#[test]
fn help_and_version_need_no_rights() -> Result<()> {
    ensure!(tool(&["--help"])?.success());
    ensure!(tool(&["--version"])?.stdout.contains("dockernet-trace"));
    Ok(())
}

/// Runs the tool where `hide` has made something of the machine invisible to it alone.
fn without(hide: &str, args: &str) -> Result<Output> {
    let script = format!("{hide} || exit 99; exec {} {args}", tool_path()?.display());
    Cmd::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output()
}

#[test]
fn without_type_information_it_says_so() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    let output = without(hide, "--drops --duration 1s")?;
    refused(&output, 1, &["BTF", "CONFIG_DEBUG_INFO_BTF"])?;
    let doctor = without(hide, "doctor")?;
    ensure!(
        doctor.status == Some(1) && doctor.stdout.contains("BROKEN  kernel"),
        "{doctor:?}"
    );
    Ok(())
}

/// The layout of bridge ports is in no type information until the module comes: a run says so then, and a service that is started
/// again by systemd ends for it.
#[test]
fn a_module_that_comes_later_is_told_of() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let mut types = std::fs::read("/sys/kernel/btf/vmlinux")?;
    let name = b"\0net_bridge_port\0";
    let at = types.windows(name.len()).position(|bytes| bytes == name);
    // Where the module's own have it already, theirs are hidden too.
    if let Some(last) = at.and_then(|at| types.get_mut(at + name.len() - 2)) {
        *last = b'X';
    }
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("vmlinux"), types)?;
    let module = folder.path().join("bridge");
    let run = |before: &str, args: &str| -> Result<Finished> {
        let script = format!(
            "mount --bind {} /sys/kernel/btf || exit 99; {before} exec {} {args} --output json",
            folder.path().display(),
            tool_path()?.display()
        );
        let tracer = Tracer::spawn(&Cmd::new("unshare").args(["--mount", "sh", "-c", &script]))?;
        std::fs::write(&module, "")?;
        let finished = tracer.wait(patient(Duration::from_secs(20)))?;
        std::fs::remove_file(&module)?;
        Ok(finished)
    };
    let tells = "kernel module bridge was loaded after the start: ";
    let while_it_lasts = patient(Duration::from_secs(5)).as_secs();
    let once = run("", &format!("--drops --duration {while_it_lasts}s"))?;
    let degraded = once
        .of_type("ready")
        .map(|ready| ready["degraded"].to_string());
    ensure!(
        once.status == Some(0)
            && once.stderr.matches(&format!("{tells}start again")).count() == 1
            && degraded
                .into_iter()
                .any(|all| all.contains("layout of bridge ports")),
        "{once:?}"
    );
    let service = run(
        "export NOTIFY_SOCKET=/nobody/listens;",
        "monitor --listen off",
    )?;
    ensure!(
        service.status == Some(1) && service.stderr.contains(&format!("{tells}systemd")),
        "{service:?}"
    );
    Ok(())
}

/// The better tier needs no tracefs; the classic one says how to get it.
#[test]
fn without_tracefs_the_better_tier_works() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let hide = "mount -t tmpfs none /sys/kernel/tracing && mount -t tmpfs none /sys/kernel/debug";
    let output = without(hide, "--drops --duration 1s")?;
    ensure!(output.success(), "{output:?}");
    let hide = format!("{hide} && export DOCKERNET_TIER=tracepoint");
    let output = without(&hide, "--drops --duration 1s")?;
    refused(&output, 1, &["tracefs", "mount -t tracefs"])
}

#[test]
fn without_root_it_says_so() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let (_folder, tool) = tool_for_anybody()?;
    let output = Cmd::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(tool)
        .arg("--drops")
        .output()?;
    refused(&output, 1, &["root"])
}

/// CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, so it is missing where they are.
#[test]
fn a_missing_capability_is_named() -> Result<()> {
    if !can_run()? {
        return Ok(());
    }
    let (_folder, tool) = tool_for_anybody()?;
    for (without, name) in [
        ("-bpf,-sys_admin", "CAP_BPF"),
        ("-perfmon,-sys_admin", "CAP_PERFMON"),
        ("-sys_admin", "CAP_SYS_ADMIN"),
        ("-net_admin", "CAP_NET_ADMIN"),
        ("-sys_ptrace", "CAP_SYS_PTRACE"),
        ("-syslog", "CAP_SYSLOG"),
    ] {
        let output = Cmd::new("setpriv")
            .arg(format!("--bounding-set={without}"))
            .arg(&tool)
            .args(["--drops", "--duration", "1s"])
            .output()?;
        refused(&output, 1, &[name])?;
    }
    Ok(())
}
