#!/bin/bash
# Runs a command where /sys/fs/cgroup is cgroup v2 alone: in a mount namespace of its own, so nothing changes outside. On a machine whose
# controllers are on cgroup v1 this v2 tree has none of them: freezing, killing, events and device rules work, limits do not.
# usage: tests/on-v2.sh COMMAND [ARGUMENT...]
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
[ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ] || exec "$@"
exec unshare --mount --propagation private bash -c 'umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"' on-v2 "$@"
