//! What dockerd was told, where it is wrong.

use ipnet::IpNet;

use crate::{
    cause::Verdict,
    check::{Finding, Grade, Sight, Subject},
    inventory::EngineStatus,
    model::{Impact, LinkKind},
    report::without_secrets,
};

/// What is wrong with the engine's own configuration, whether it runs or not.
pub(super) fn configuration(sight: &Sight<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let daemon = &sight.daemon;
    if let Some(error) = &daemon.error {
        let verdict = Verdict::confirmed(
            "engine-config",
            format!(
                "{} cannot be read: dockerd does not start with it",
                daemon.file.display()
            ),
        )
        .fact(error.clone())
        .advise("mend the file; dockerd --validate --config-file says more");
        found.push(Finding::new(
            broken_if_down(sight),
            Subject::engine(),
            verdict,
        ));
    }
    if let Some(file) = daemon
        .unit()
        .file
        .as_ref()
        .filter(|_| daemon.unit().several)
    {
        let verdict = Verdict::confirmed(
            "engine-config",
            "docker.service has more than one ExecStart: systemd refuses to start it",
        )
        .fact(format!("{} adds one to that of the unit", file.display()))
        .advise(format!(
            "write ExecStart= without anything on a line before it in {}, then: systemctl daemon-reload && systemctl start docker",
            file.display()
        ));
        found.push(Finding::new(
            broken_if_down(sight),
            Subject::engine(),
            verdict,
        ));
    }
    let twice = daemon.twice();
    if !twice.is_empty() {
        let verdict = Verdict::confirmed(
            "engine-config",
            format!(
                "{} in {} and on dockerd's command line as well: it does not start with both",
                match twice.as_slice() {
                    [one] => format!("\"{one}\" is"),
                    all => format!("\"{}\" are", all.join("\", \"")),
                },
                daemon.file.display()
            ),
        )
        .fact(format!("dockerd's command line: {}", shown(&daemon.arguments)))
        .maybe_fact(daemon.unit().file.as_ref().map(|file| format!("its unit's command is in {}", file.display())))
        .advise(format!(
            "keep one of both: take it out of {}, or write a drop-in with the command without it (systemctl edit docker: ExecStart= and \
             then ExecStart=/usr/bin/dockerd …), then systemctl start docker",
            daemon.file.display()
        ));
        found.push(Finding::new(
            broken_if_down(sight),
            Subject::engine(),
            verdict,
        ));
    }
    if let Some(bip) = daemon.option("bip") {
        let wrong = match bip.parse::<IpNet>() {
            Err(_) => Some("it is no address with a prefix length"),
            Ok(net)
                if net.network() == net.addr() && net.prefix_len() < net.max_prefix_len() - 1 =>
            {
                Some(
                    "it is the network's address: a bridge needs an address of its own in it, such as the first",
                )
            }
            Ok(_) => None,
        };
        if let Some(wrong) = wrong {
            let right = bip
                .parse::<IpNet>()
                .ok()
                .and_then(|net| Some(format!("{}/{}", net.hosts().next()?, net.prefix_len())));
            let verdict = Verdict::confirmed(
                "engine-config",
                "bip is wrong: dockerd does not start with it",
            )
            .fact(format!("bip = {bip}: {wrong}"))
            .fact(if daemon.argument("bip").is_some() {
                match daemon.unit().file.as_ref().filter(|_| daemon.pid.is_none()) {
                    Some(file) => format!("it is on dockerd's command line, in {}", file.display()),
                    None => "it is on dockerd's command line".to_owned(),
                }
            } else {
                format!("it is in {}", daemon.file.display())
            })
            .advise(match right {
                Some(right) => format!("\"bip\": \"{right}\", then systemctl start docker"),
                None => "\"bip\": \"172.17.0.1/16\", then systemctl start docker".to_owned(),
            });
            found.push(Finding::new(
                broken_if_down(sight),
                Subject::engine(),
                verdict,
            ));
        }
    }
    if let Some(bridge) = daemon
        .option("bridge")
        .filter(|bridge| bridge != "none" && !bridge.is_empty())
    {
        let link = sight.host.link(&bridge);
        let wrong = match link {
            None => Some(format!("no interface is called {bridge}")),
            Some(link) if link.kind != LinkKind::Bridge => Some(format!("{bridge} is no bridge")),
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            let verdict = Verdict::confirmed("bridge-down", "the bridge that dockerd was told to use is not there: it does not start without it")
                .fact(wrong)
                .fact(format!("bridge = {bridge}"))
                .maybe_fact(other_names(sight))
                .run(format!("ip link add {bridge} type bridge && ip link set {bridge} up"), "host", None, Impact::None)
                .advise("with its address; or take \"bridge\" out of daemon.json, so that Docker makes docker0");
            found.push(Finding::new(
                broken_if_down(sight),
                Subject::engine(),
                verdict,
            ));
        }
    }
    found
}

/// Bridges that the host has, in case the wanted one wears another's name.
fn other_names(sight: &Sight<'_>) -> Option<String> {
    let bridges: Vec<&str> = sight
        .host
        .links
        .iter()
        .filter(|link| link.kind == LinkKind::Bridge)
        .map(|link| link.name.as_str())
        .collect();
    (!bridges.is_empty()).then(|| format!("bridges here: {}", bridges.join(", ")))
}

fn broken_if_down(sight: &Sight<'_>) -> Grade {
    match sight.inventory.engine_status() {
        EngineStatus::Up { .. } => Grade::Risk,
        _ => Grade::Broken,
    }
}

/// A command line without the passwords of its URLs (proxies).
pub(super) fn shown(arguments: &[String]) -> String {
    let words = arguments.iter().map(|word| without_secrets(word));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let words = [
            "dockerd",
            "-H",
            "fd://",
            "--http-proxy=http://u:secret@192.0.2.1:3128/x",
        ];
        let words: Vec<String> = words.map(str::to_owned).to_vec();
        assert_eq!(
            shown(&words),
            "dockerd -H fd:// --http-proxy=http://192.0.2.1:3128/x"
        );
    }
}
