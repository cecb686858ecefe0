#!/usr/bin/busybox sh
# The guest's first process: mounts what a host has, runs /vm/command with the second serial port as its terminal,
# reports its exit status through the third, and switches the machine off.
#
# Of the kernel's command line it reads dockernet.cgroup=v1 (else v2).

bb=/usr/bin/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/vm/applets

$bb mkdir -p /proc /sys /dev /run /tmp /root /var/lib /var/tmp /vm/applets
$bb mount -t proc -o nosuid,nodev,noexec proc /proc
$bb mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
$bb --install -s /vm/applets
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /run
# A source tree, with the tests' scenarios, may lie there.
[ -n "$(ls -A /tmp)" ] || mount -t tmpfs -o nosuid,nodev tmpfs /tmp
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
mkdir -p /run/netns /run/lock

case " $(cat /proc/cmdline) " in
*" dockernet.cgroup=v1 "*)
	mount -t tmpfs tmpfs /sys/fs/cgroup
	for one in cpuset cpu,cpuacct blkio memory devices freezer net_cls,net_prio perf_event pids; do
		mkdir -p "/sys/fs/cgroup/$one"
		mount -t cgroup -o "$one" cgroup "/sys/fs/cgroup/$one" 2>/dev/null || rmdir "/sys/fs/cgroup/$one"
	done
	mkdir -p /sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
	;;
*)
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	;;
esac

# What does not load itself when it is first asked for, on a host that runs Docker.
for module in overlay br_netfilter nf_conntrack; do
	modprobe -q "$module"
done
ip link set lo up
hostname dockernet-vm

# Bytes as they are: no line ends are added. A terminal sets itself up again.
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
# Busybox's shell would run its own applets before real programs.
setsid -c /usr/bin/dash -c '. /vm/environment; exec /usr/bin/dash /vm/command' </dev/ttyS1 >/dev/ttyS1 2>&1
echo "$?" >/dev/ttyS2
# What is still on its way through the emulated lines would be lost: changing a terminal waits for it (TCSADRAIN).
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
sync
poweroff -f
