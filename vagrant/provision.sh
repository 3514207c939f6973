#!/usr/bin/env bash
# Makes the classroom of a fresh Ubuntu 20.04. Vagrant runs it as root in the new machine; running it again
# (vagrant provision) brings the machine up to date and harms nothing.
#
#   provision.sh REPOSITORY USER     the directory that the repository is synced to, and who works in it

set -euo pipefail

REPOSITORY=${1:?usage: provision.sh REPOSITORY USER}
STUDENT=${2:?usage: provision.sh REPOSITORY USER}

# One version for a whole class. Not older than rust-version in the repository's Cargo.toml.
RUST_VERSION=1.95.0
MDBOOK_VERSION=0.5.4

# All that is built, and all containers, are on the machine's own disk: the synced folder is a share of another
# computer, on which overlayfs and aufs do not work, and cargo is slow.
TARGET=/var/cache/containers-by-hand
STATE=/var/lib/byhand

step() {
    printf '\n== %s\n' "$*"
}

fail() {
    echo "provision.sh: $*" >&2
    exit 1
}

# As the student does it: a new login, with the environment that belongs to it. Each word arrives as it is.
as_student() {
    su --login "$STUDENT" --shell /bin/bash --command "cd $(printf %q "$REPOSITORY") && $(printf '%q ' "$@")"
}

[ "$(id -u)" = 0 ] || fail "this installs packages, so it must run as root"
id "$STUDENT" >/dev/null || fail "there is no user $STUDENT here"
[ -f "$REPOSITORY/Cargo.toml" ] || fail "the repository is not in $REPOSITORY: is the folder synced?"

step "Packages"
# What a fresh machine does by itself after its first start holds the lock for a while: so wait for it.
apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 "$@"
}
packages=(
    busybox-static  # the image of all containers, and the one program in it
    build-essential # a linker, which Rust needs
    git             # to break a program on purpose, and to mend it
    strace tree     # to watch what the kernel is asked for, and what it makes of the disk
    stress-ng       # to run into the limits of chapter 2
    python3         # for what chapter 6 asks of a terminal and no shell can
    curl ca-certificates
    sudo kmod
)
apt update
apt install --no-install-recommends "${packages[@]}"

step "Directories on this machine's own disk"
install -d -o "$STUDENT" -g "$(id -g "$STUDENT")" "$TARGET"
install -d -m 755 "$STATE"
for directory in "$TARGET" "$STATE"; do
    filesystem=$(stat --file-system --format=%T "$directory")
    case $filesystem in
        vboxsf | v9fs | nfs | fuseblk | fuse | prl_fs | smb* | cifs)
            fail "$directory is on a shared folder ($filesystem), where containers cannot be made"
            ;;
    esac
done

step "The environment"
# /etc/environment is read by PAM for whatever comes in: a terminal, `vagrant ssh -c`, su, an editor over ssh. A
# file of the shell's own would be read for some of them.
sed -i '/^CARGO_TARGET_DIR=/d' /etc/environment
echo "CARGO_TARGET_DIR=$TARGET" >>/etc/environment
# A login starts in the repository, so that the book's commands, and vagrant ssh -c 'cargo test', work as
# they are.
cat >/etc/profile.d/containers-by-hand.sh <<PROFILE
# Made by vagrant/provision.sh.
if [ "\$(id -un)" = $STUDENT ] && [ "\$PWD" = "\$HOME" ]; then
    cd $(printf %q "$REPOSITORY") 2>/dev/null || true
fi
PROFILE

step "Rust $RUST_VERSION"
rust_is_there() {
    local installed
    installed=$(rustc --version 2>/dev/null | cut -d ' ' -f 2)
    [ -n "$installed" ] && command -v cargo >/dev/null && dpkg --compare-versions "$installed" ge "$RUST_VERSION"
}
if rust_is_there; then
    echo "$(rustc --version) is installed"
else
    # For all users: then it does not matter who asks, nor how that user logged in. The links lead to the
    # compiler itself and not to rustup's stand-in for it, which would look for its own settings first.
    export RUSTUP_HOME=/opt/rust
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
        CARGO_HOME=/opt/rust/cargo sh -s -- -y --no-modify-path --profile minimal \
            --component clippy --component rustfmt --default-toolchain "$RUST_VERSION"
    ln -sf /opt/rust/toolchains/"$RUST_VERSION"-*/bin/* /usr/local/bin/
    hash -r
    rust_is_there || fail "rustup ran, and yet there is no Rust $RUST_VERSION"
fi

step "mdBook $MDBOOK_VERSION"
if [ "$(mdbook --version 2>/dev/null)" = "mdbook v$MDBOOK_VERSION" ]; then
    echo "it is installed"
else
    # Not optimised, which takes a third of the time, and for a book of this size is fast enough.
    CARGO_HOME=/opt/rust/cargo CARGO_TARGET_DIR=/opt/rust/target CARGO_PROFILE_DEV_DEBUG=0 \
        cargo install --quiet --locked --debug --version "$MDBOOK_VERSION" --root /usr/local mdbook
    rm -rf /opt/rust/target
fi

step "aufs"
# Loaded now, and at each start. The runtime would load it too, but then /proc/filesystems, which chapter 4
# looks at first, would not have it yet.
# shellcheck source=/dev/null
. /etc/os-release
if [ ! -d /run/systemd/system ]; then
    echo "systemd did not start this machine, so the kernel is another one's: left as it is"
elif modprobe -q aufs ||
    { [ "$ID" = ubuntu ] && apt install "linux-modules-extra-$(uname -r)" && modprobe -q aufs; }; then
    echo aufs >/etc/modules-load.d/aufs.conf
    echo "loaded: $(modinfo -F filename aufs)"
elif [ "$ID $VERSION_ID" = "ubuntu 20.04" ]; then
    fail "the kernel $(uname -r) of this Ubuntu 20.04 has no aufs: is it the stock kernel, 5.4?"
else
    # Another box than the usual one; whoever chose it wants the rest.
    echo "the kernel of $PRETTY_NAME has no aufs: ch04_aufs will not run here, all other chapters do"
fi

step "All chapters, built once"
# So that the class starts with a warm cache, and without a network.
as_student cargo test --workspace --locked --no-run

step "A message at login"
install -d /etc/update-motd.d
chapters=("$REPOSITORY"/chapters/ch*)
# The last one for this kernel: chapters 7 and 8 need Linux 5.6.
last=$(basename "$REPOSITORY"/chapters/ch06*)
cat >/etc/update-motd.d/99-containers-by-hand <<MOTD
#!/bin/sh
# Made by vagrant/provision.sh.
cat <<'TEXT'

  Containers by Hand: write your own container runtime.

  You are in the repository, and all is built. A first container:

      cargo run --bin $last -- run -ti sh

  What this machine can run:    cargo lab doctor
  The first chapter's story:    less chapters/$(basename "${chapters[0]}")/src/main.rs
  Its checks:                   cargo test -p $last

TEXT
MOTD
chmod 755 /etc/update-motd.d/99-containers-by-hand

step "What this machine can run"
as_student cargo lab doctor
