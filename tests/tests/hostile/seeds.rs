//! Well-formed input to begin with: the dumps that unit tests read, this machine's own files, and small things by hand.

use std::path::{Path, PathBuf};

/// Dumps of real rulesets.
fn dumps(ending: &str) -> Vec<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../dockernet/src/host/firewall/testdata");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|is| is == ending))
        .collect();
    files.sort();
    files
}

fn read(file: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(file).unwrap_or_default()
}

/// A listing behind a first byte.
fn behind(first: u8, mut rest: Vec<u8>) -> Vec<u8> {
    rest.insert(0, first);
    rest
}

/// Two parts with a zero byte between.
fn joined(first: Vec<u8>, second: &[u8]) -> Vec<u8> {
    [first.as_slice(), &[0], second].concat()
}

/// Seeds of a parser.
pub(crate) fn of(parser: &str) -> Vec<Vec<u8>> {
    match parser {
        "btf" => vec![btf()],
        "config" => vec![joined(settings().into_bytes(), COUNTERS.as_bytes())],
        "conntrack" => vec![conntrack()],
        "docker" => DOCKER.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "ebtables" => dumps("txt")
            .into_iter()
            .filter(|file| file.file_stem().is_some_and(|name| name == "ebtables"))
            .map(read)
            .collect(),
        "iptables" => {
            let four = dumps("save").into_iter().map(|file| behind(0, read(file)));
            let six = dumps("save6").into_iter().map(|file| behind(1, read(file)));
            four.chain(six).collect()
        }
        "nft" => dumps("json")
            .into_iter()
            .map(|file| joined(read(&file), &read(file.with_extension("txt"))))
            .collect(),
        "packet" => vec![PACKET.to_vec()],
        "proc" => FILES
            .iter()
            .map(read)
            .chain(TEXTS.iter().map(|text| text.as_bytes().to_vec()))
            .filter(|text| !text.is_empty())
            .collect(),
        "recording" => vec![RECORDING.join("\n").into_bytes()],
        _ => Vec::new(),
    }
}

/// The lines of a recording, one of each type.
const RECORDING: &[&str] = &[
    r#"{"type":"recording","format":1,"version":"0.1.0","started":"2026-11-20T04:01:03Z","ready_after":0.14,"part":1,"catalogue":"0","drops":true,"nat":true,"reasons":["NETFILTER_DROP"]}"#,
    r#"{"type":"ready","schema":1,"version":"0.1.0","kernel":"6.18.44","docker":"28.5.2","docker_host":null,"containers":1,"programs":["kfree_skb:tp_btf"],"degraded":[]}"#,
    r#"{"type":"inventory","time":"2026-11-20T04:01:03Z","containers":[{"id":"2df2a7aa8382","name":"web","state":"running","addresses":[["bridge","172.17.0.2/16"]]}],"networks":[{"name":"bridge","bridge":"docker0"}],"namespaces":[{"inum":4026532201,"name":"host","near":true,"devices":[{"ifindex":2,"name":"eth0"}]}]}"#,
    r#"{"type":"drop","time":"2026-11-20T04:01:03.100000000Z","flow":"7f","reason":"NETFILTER_DROP","location":"nft_do_chain","hook":"forward","stack":["nft_do_chain"],"netns":{"inum":4026532201,"owner":"host","container":null,"name":"host"},"device":"eth0","ingress_device":"eth0","packet":{"family":"ipv4","protocol":"tcp","src":"198.51.100.20","src_port":4000,"dst":"172.17.0.2","dst_port":80,"tcp_flags":"S","icmp":null,"ttl":64,"length":60,"mark":0,"pkt_type":"host","src_mac":null,"dst_mac":null,"ethertype":"0x0800","vlan":null},"nat":{"kind":"dnat","original":{"src":"198.51.100.20","src_port":4000,"dst":"198.51.100.10","dst_port":10001},"reply":{"src":"172.17.0.2","src_port":80,"dst":"198.51.100.20","dst_port":4000}},"source":{"kind":"external","container":null,"network":null},"destination":{"kind":"container","container":{"id":"2df2a7aa8382","name":"web","image":null,"project":null,"service":null,"shared_with":[]},"network":"bridge"},"published":"0.0.0.0:10001->80/tcp","rule":{"backend":"nft","table":"ip filter","chain":"FORWARD","rule":"policy drop","how":"counter","owner":"user"},"cause":{"id":"forward-drop","confidence":"likely","summary":"dropped","evidence":["a fact"],"fix":[{"run":"true","netns":"host","persist":null,"set_by":null,"impact":"none"},{"advice":"look"}]},"noise":null,"expected":false,"count":3,"recorded":{"scope":"containers","packet":{"link":"ip","length":60,"bytes":"450000"},"listed":false}}"#,
    r#"{"type":"nat","time":"2026-11-20T04:01:03.200000000Z","flow":"7f","kind":"dnat","masquerade":null,"redirect":false,"protocol":"tcp","original":{"src":"198.51.100.20","src_port":4000,"dst":"198.51.100.10","dst_port":10001},"translated":{"src":"198.51.100.20","src_port":4000,"dst":"172.17.0.2","dst_port":80},"device":"docker0","direction":"egress","hairpin":false,"replied":true,"answer_ms":0.1,"answered_within_ms":null,"old":false,"age_ms":0.1,"proxy_pid":null,"source":{"kind":"external","container":null,"network":null},"destination":{"kind":"external","container":null,"network":null},"published":null}"#,
    r#"{"type":"tick","time":"2026-11-20T04:01:04Z"}"#,
    r#"{"type":"ledger","final":true,"seconds":1.0,"observed":3,"shown":3,"filtered":0,"out_of_scope":0,"benign":0,"expected":0,"lost":0,"missed":0,"nat":{"seen":1,"shown":1,"hidden":0,"lost":0}}"#,
];

/// What `monitor` hands over at a restart.
const COUNTERS: &str = r#"{"format":1,"boot_id":"x","counters":{"drops":[["docker-user-drop","web","bridge",3,180]],"removed":1,"capped":2,
    "benign":{"multicast":4},"expected":[["docker-user-drop","db",5]],"last":{"docker-user-drop":1700000000.5},"diagnoses":{"docker-user-drop":1},
    "findings":[["container-paused","web",6]],"nat":{"dnat":7},"sums":{"observed":9,"lost":1,"missed":2,"bpf_seconds":0.25,"reasons":{"NETFILTER_DROP":3}}}}"#;

const FILES: &[&str] = &[
    "/proc/net/tcp",
    "/proc/net/udp",
    "/proc/net/softnet_stat",
    "/proc/net/stat/nf_conntrack",
    "/proc/self/cgroup",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/sys/kernel/tracing/events/skb/kfree_skb/format",
];

const TEXTS: &[&str] = &[
    "net.ipv4.ip_forward=1\n-net.ipv4.conf.*.rp_filter = 2\n# a comment\n",
    "docker-proxy\0-proto\0tcp\0-host-ip\x000.0.0.0\0-host-port\x008080\0-container-ip\x00172.17.0.2\0-container-port\x0080\0",
    "ffffffff81000000 T kfree_skb\nffffffff81000100 t nf_hook_slow [mod]\n",
    "12:freezer:/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n0::/system.slice/docker.service\n",
    "nameserver 127.0.0.11\nsearch lan\noptions ndots:0 use-vc\n# ExtServers: [host(127.0.0.53) 1.1.1.1]\n",
    "frozen 1\n",
];

const DOCKER: &[&str] = &[
    r#"{"Id":"a1","Name":"/web","State":{"Running":true,"Paused":false,"Pid":3},"Config":{"Image":"x","Labels":{"a":"b"},"ExposedPorts":{"80/tcp":{}}},
        "HostConfig":{"NetworkMode":"bridge","Dns":["1.1.1.1"],"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080-8090"}]}},
        "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"::","HostPort":"8080"}],"53/udp":null},
        "Networks":{"bridge":{"NetworkID":"n","Gateway":"172.17.0.1","IPAddress":"172.17.0.2","IPPrefixLen":16,"GlobalIPv6Address":"fd00::2",
        "GlobalIPv6PrefixLen":64,"MacAddress":"02:42:ac:11:00:02"}}}}"#,
    r#"{"Id":"a1","Names":["/web"],"Image":"x","State":"running","Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}],
        "HostConfig":{"NetworkMode":"container:b2"},"NetworkSettings":{"Networks":{}}}"#,
    r#"{"Name":"bridge","Id":"n","Driver":"bridge","Internal":false,"EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"172.17.0.0/16","Gateway":"172.17.0.1"}]},
        "Options":{"com.docker.network.bridge.name":"docker0","com.docker.network.driver.mtu":"1500","com.docker.network.bridge.enable_icc":"false"}}"#,
    r#"{"Type":"container","Action":"start","Actor":{"ID":"a1","Attributes":{"name":"web","image":"x"}},"time":1,"timeNano":1000000000}"#,
    "{\"ID\":\"a1\",\"Name\":\"/web\",\"State\":{\"Running\":true,\"Pid\":9},\"Config\":{\"Image\":\"x\"},\"NetworkSettings\":{\"Networks\":{\"bridge\":{\"NetworkID\":\"n\"}},\
     \"Ports\":{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8080\"}]}}}\0{\"NetworkMode\":\"host\"}",
    "time=\"2026-11-20T12:00:00Z\" level=info msg=\"API listen on /run/docker.sock\"\ntime=\"x\" level=fatal msg=\"failed to start daemon: \\\"no\\\"\"\n",
];

/// An Ethernet frame with a TCP SYN in IPv4, whose link header begins at 0 and IP header at 14.
const PACKET: &[u8] = &[
    0, 14, 34, 6, 15, 8, 0, 2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 2, 2, 8, 0, 0x45, 0, 0, 40, 0, 1, 0x40,
    0, 64, 6, 0, 0, 192, 0, 2, 2, 198, 51, 100, 2, 0x9c, 0x40, 0, 80, 0, 0, 3, 0xe8, 0, 0, 0, 0,
    0x50, 2, 32, 0, 0, 0, 0, 0,
];

/// The file that is shipped, with all that it holds as a comment in force.
fn settings() -> String {
    let file = read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../dist/dockernet-trace.toml"
    ));
    let text = String::from_utf8_lossy(&file).into_owned();
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(option) if option.starts_with(|c: char| c.is_ascii_lowercase()) => option,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// One entry of a dump: `nlmsghdr`, `nfgenmsg`, both tuples, the status; then the end.
fn conntrack() -> Vec<u8> {
    let attribute = |kind: u16, value: &[u8]| {
        let mut bytes = Vec::new();
        bytes.extend(u16::try_from(value.len() + 4).unwrap_or(0).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let nested = |kind: u16, parts: &[Vec<u8>]| attribute(kind | 1 << 15, &parts.concat());
    let tuple = |kind: u16, src: [u8; 4], dst: [u8; 4]| {
        let ip = nested(1, &[attribute(1, &src), attribute(2, &dst)]);
        let ports = [
            attribute(1, &[17]),
            attribute(2, &[0x9c, 0x40]),
            attribute(3, &[0, 53]),
        ];
        nested(kind, &[ip, nested(2, &ports)])
    };
    let mut body = vec![2, 0, 0, 0];
    body.extend(tuple(1, [192, 0, 2, 2], [198, 51, 100, 2]));
    body.extend(tuple(2, [172, 17, 0, 2], [192, 0, 2, 2]));
    body.extend(attribute(3, &[0, 0, 1, 0x2a]));
    body.extend(nested(20, &[attribute(1, &[0, 0, 0, 1, 2, 3, 4, 5])]));
    let message = |kind: u16, body: &[u8]| {
        let length = u32::try_from(16 + body.len()).unwrap_or(0);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([2, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        bytes
    };
    [message(1 << 8, &body), message(3, &[0; 4])].concat()
}

/// Type information of two structures, one in the other, an enumeration and a function.
fn btf() -> Vec<u8> {
    let mut strings = vec![0_u8];
    let mut name = |text: &str| {
        let at = u32::try_from(strings.len()).unwrap_or(0);
        strings.extend(text.as_bytes());
        strings.push(0);
        at
    };
    let (int, sk_buff, dev, head) = (name("int"), name("sk_buff"), name("dev"), name("head"));
    let (reason, first, free) = (name("skb_drop_reason"), name("SKB_DROP"), name("kfree_skb"));
    let words: Vec<u32> = vec![
        // 1: int
        int,
        1 << 24,
        4,
        32,
        // 2: struct { int head; } without a name
        0,
        4 << 24 | 1,
        4,
        head,
        1,
        0,
        // 3: struct sk_buff { int dev; struct 2; }
        sk_buff,
        4 << 24 | 2,
        8,
        dev,
        1,
        0,
        0,
        2,
        32,
        // 4: enum skb_drop_reason
        reason,
        6 << 24 | 1,
        4,
        first,
        2,
        // 5: pointer to sk_buff, 6: its typedef
        0,
        2 << 24,
        3,
        sk_buff,
        8 << 24,
        5,
        // 7: prototype with one argument, 8: function
        0,
        13 << 24 | 1,
        0,
        dev,
        5,
        free,
        12 << 24,
        7,
    ];
    let types = u32::try_from(words.len() * 4).unwrap_or(0);
    let length = u32::try_from(strings.len()).unwrap_or(0);
    let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
    bytes.extend([1, 0]);
    for word in [24, 0, types, types, length].iter().chain(&words) {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(strings);
    bytes
}
