#!/bin/sh
# bubblewrap as a runtime of the first chapter.
shift
hostname=$(head -c 6 /dev/urandom | od -An -tx1 | tr -d ' \n')
if [ "$1" = --hostname ]; then
    hostname=$2
    shift 2
fi
exec bwrap --bind / / --dev-bind /dev /dev --proc /proc --unshare-pid --as-pid-1 --unshare-uts --unshare-ipc --unshare-net \
    --hostname "$hostname" --die-with-parent --cap-add ALL --clearenv \
    --setenv PATH /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --setenv HOME /root \
    --setenv TERM "${TERM-xterm}" --setenv HOSTNAME "$hostname" -- "$@"
