#!/bin/sh
# Runs a command in a private mount namespace where /sys/fs/cgroup is a cgroup2 mount, as on a pure v2 machine; on a hybrid one
# without controllers, which stay with v1. The machine's own mounts are not touched: tests/on-v2.sh COMMAND [ARG]…
set -eu
[ $# -gt 0 ] || { echo "usage: tests/on-v2.sh COMMAND [ARG]…" >&2; exit 2; }
exec unshare --mount --propagation private sh -c 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"' sh "$@"
