//! Podman, Buildah and umoci beside ours: each reads what the other writes, runs it, and finds the same files in it.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

use std::process::Command;

/// What comes before each script. Podman and Buildah leave mounts in /run, a lock in /dev/shm and a cache in /var/lib, so
/// these are the script's own. crun takes a machine with cgroup v1 and a version 2 mount beside it for one of version 2
/// only, and fails, so that mount is taken away.
const BEFORE: &str = r#"
cd "$HOME"
for place in /run /dev/shm /var/lib; do mount -t tmpfs tmpfs $place; done
if grep -q ' - cgroup ' /proc/self/mountinfo && mountpoint -q /sys/fs/cgroup/unified; then
    umount -l /sys/fs/cgroup/unified
fi
ip link set lo up

mkdir tmp registry
export TMPDIR=$HOME/tmp BYHAND_ROOT=$HOME/state BUILDAH_ISOLATION=chroot
export CONTAINERS_CONF=$HOME/containers.conf CONTAINERS_STORAGE_CONF=$HOME/storage.conf
export CONTAINERS_REGISTRIES_CONF=$HOME/registries.conf
cat > containers.conf << END
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
END
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "/run/storage"\n' "$HOME/storage" > storage.conf
echo 'unqualified-search-registries = []' > registries.conf

ours() { "$OURS" "$@"; }
same() { [ -n "$2" ] && [ "$2" = "$3" ] || { printf '%s: expected %s, and got %s\n' "$@" >&2 && exit 1; }; }
# An image's manifest, by its digest: in our store, in theirs, and in an archive or a directory.
digest() { ours images --format json "$1" | grep -o 'sha256:[0-9a-f]*' | head -n 1; }
theirs() { podman "${@:2}" image inspect --format '{{.Digest}}' "$1"; }
written() { { cat "$1/index.json" 2> /dev/null || tar -xOf "$1" index.json; } | grep -o 'sha256:[0-9a-f]*' | head -n 1; }

serve() {
    printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: 127.0.0.1:5000}\n' \
        "$HOME/registry" > registry.yml
    docker-registry serve registry.yml > registry.log 2>&1 &
    for _ in {1..300}; do
        if (: < /dev/tcp/127.0.0.1/5000) 2> /dev/null; then return; fi
        sleep 0.1
    done
    cat registry.log >&2 && return 1
}

# A busybox, as a directory.
root() {
    mkdir -p root/{bin,dev,etc,proc,sys,tmp}
    cp "$(command -v busybox)" root/bin/busybox
    for name in sh cat chmod chown ln mkdir mkfifo mv rm sleep touch; do ln root/bin/busybox "root/bin/$name"; done
    chmod 1777 root/tmp
}

# An image for Buildah to begin with, and for the layers that STEPS makes upon it.
built() {
    root
    (cd root && mkdir -p gone/b opaque/sub moved/y kept turned deep/a/b/c
        for file in gone/a gone/b/c opaque/old opaque/sub/deep moved/x moved/y/z kept/file file linked turned/in deep/a/b/c/d
        do echo "$file" > "$file"; done
        echo strange > "kept/a space
and a line"
        ln -s /kept/file link && ln -s ../nowhere kept/dangling && ln -s kept to-directory
        chown 5:6 moved/x && chmod 4755 moved/x && chown -h 7:8 kept/dangling
        touch -h -d '2001-02-03 04:05:06.789' kept/file kept/dangling gone kept)
    container=$(buildah from scratch)
    buildah copy -q "$container" root / > /dev/null
    made=0
    buildah commit -q "$container" localhost/lab/built:$made > /dev/null
}

# What each further layer does: whiteouts, opaque directories, names moved, hard links to what is below, other kinds.
STEPS=(
    'rm -r /gone; rm /file; mkdir -m 2750 /new; mkfifo /new/fifo; chown 9:10 /new'
    'rm -r /opaque; mkdir /opaque; echo new > /opaque/new; ln /linked /again; echo more >> /kept/file'
    'mv /moved /elsewhere; ln /again /kept/third; rm /linked'
    'rm -r /turned; echo a file > /turned; rm /link; mkdir /link; echo in > /link/in; rm /to-directory; ln -s deep /to-directory'
    'chmod 700 /deep/a/b; rm -r /deep/a/b/c; mkdir -p /gone/b; echo again > /gone/b/c; rm /elsewhere/y/z; touch -d 2002-03-04 /deep'
)

# All that there is to know of the files below a directory, but for the directory itself, of which no layer tells.
# Directories are without size and number of links: these are the file system's.
files() (
    cd "$1"
    find . -xdev -mindepth 1 '(' -path ./proc -o -path ./dev -o -path ./sys ')' -prune -o \
        '(' -type d -printf '%P %y %m %U:%G %Ts\0' -o -printf '%P %y %m %U:%G %Ts %s %n %l\0' ')' |
        tr '\n\0' '|\n' | LC_ALL=C sort
    find . -xdev -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
)

# What a container of ours that runs has as its root.
seen_in() { ours inspect "$1" | sed -n 's|.*"Pid": \([0-9]*\).*|/proc/\1/root|p'; }

# The files that a container of ours, of Podman and of umoci sees in an image, each of which has got it from an archive.
seen_alike() {
    local id
    id=$(ours run -d "$1" sleep 1000)
    files "$(seen_in "$id")" > ours.files
    ours rm -f "$id" > /dev/null
    podman --root "$HOME/other" load -q -i "$2" > /dev/null
    files "$(podman --root "$HOME/other" image mount "$1")" > podman.files
    mkdir layout && tar -xf "$2" -C layout
    umoci unpack --image "layout:$(umoci ls --layout layout)" bundle
    files bundle/rootfs > umoci.files
    [ "$(wc -l < ours.files)" -gt 50 ] || { echo 'most of the files are not there' >&2 && exit 1; }
    diff podman.files ours.files
    diff umoci.files ours.files
}
"#;

/// Runs a script after `BEFORE`, apart from this machine: with mounts, processes and a loopback of its own, which go with it.
/// Where a package is missing it says so, and that is all.
fn scene(packages: &[&str], script: &str) {
    let path = std::env::var_os("PATH").unwrap();
    let is_here = |name: &str| std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    if let Some(package) = packages.iter().find(|package| !is_here(package)) {
        println!("skipped: {package} is not installed: apt-get install {package}");
        return;
    }
    let home = tempfile::Builder::new().prefix("byhand-others-").tempdir_in("/var/tmp").unwrap();
    // SIGKILL, since unshare(1) ignores what is milder; nothing but a failure takes so long.
    let mut run = Command::new("timeout");
    run.args(["-s", "KILL", "300", "unshare", "-mnpf", "--mount-proc", "--kill-child"]);
    run.args(["bash", "-euo", "pipefail", "-c", &format!("{BEFORE}\n{script}")]);
    run.env("HOME", home.path()).env("OURS", env!("CARGO_BIN_EXE_ch08_images")).env_remove("RUST_LOG");
    let done = run.output().unwrap();
    let (said, printed) = (String::from_utf8_lossy(&done.stderr), String::from_utf8_lossy(&done.stdout));
    assert!(done.status.success(), "{}\n{printed}{said}", done.status);
}

#[test]
fn they_read_what_is_saved_and_pushed_and_podman_runs_it() {
    scene(
        &["podman", "buildah", "crun", "docker-registry"],
        r#"
        ours run --name made busybox sh -c 'echo by ours > /told; rm /bin/vi'
        id=$(ours commit -c 'CMD ["cat", "/told"]' made 127.0.0.1:5000/lab/ours:1)
        name=127.0.0.1:5000/lab/ours:1
        ours save -o saved.tar $name
        podman load -q -i saved.tar
        same 'podman load: id' "$id" "sha256:$(podman image inspect --format '{{.Id}}' $name)"
        same 'podman run' 'by ours' "$(podman run --rm $name)"
        same 'podman run' absent "$(podman run --rm $name sh -c 'ls /bin/vi 2> /dev/null || echo absent')"
        same 'buildah pull' "${id#sha256:}" "$(buildah --root "$HOME/other" pull -q oci-archive:saved.tar)"

        serve
        ours push -q $name
        podman --root "$HOME/another" pull -q --tls-verify=false $name
        same 'podman pull: digest' "$(digest $name)" "$(theirs $name --root "$HOME/another")"
        same 'podman run' 'by ours' "$(podman --root "$HOME/another" run --rm $name)"
        container=$(buildah --root "$HOME/more" from --tls-verify=false $name)
        same 'buildah run' 'by ours' "$(buildah --root "$HOME/more" run "$container" -- cat /told)"
        "#,
    );
}

#[test]
fn what_they_write_is_read_and_keeps_its_digest() {
    scene(
        &["podman", "buildah", "crun", "docker-registry", "busybox"],
        r#"
        root
        container=$(buildah from scratch)
        buildah copy -q "$container" root /
        buildah config --cmd '["cat", "/told"]' "$container"
        buildah commit -q "$container" localhost/lab/base:1
        container=$(buildah from localhost/lab/base:1)
        buildah run "$container" -- sh -c 'echo by buildah > /told'
        name=localhost/lab/built:1
        buildah commit -q "$container" $name
        id=$(podman image inspect --format '{{.Id}}' $name)

        podman save -q --format oci-archive -o oci-archive $name
        podman save -q --format oci-dir -o oci-dir $name
        podman save -q --format docker-archive -o docker-archive $name
        buildah push -q $name oci:oci:$name
        buildah push -q --compression-format zstd $name oci:zstd:$name
        buildah push -q $name docker-archive:buildah-archive:$name
        for form in oci-archive oci-dir docker-archive oci zstd buildah-archive; do
            same "$form: load" "Loaded image: $name" "$(ours load -i $form)"
            same "$form: id" "sha256:$id" "$(ours images -q --no-trunc $name)"
            same "$form: run" 'by buildah' "$(ours run --rm $name)"
            case $form in *oci* | zstd)
                ours save -o saved $name
                same "$form: digest" "$(written $form)" "$(written saved)"
            esac
            ours rmi $name > /dev/null
        done

        serve
        there=127.0.0.1:5000/lab/built:1
        buildah push -q --tls-verify=false --digestfile pushed $name docker://$there
        ours pull -q $there
        same 'pull: digest' "$(cat pushed)" "$(digest $there)"
        same 'run' 'by buildah' "$(ours run --rm $there)"
        ours tag $there 127.0.0.1:5000/lab/back:1
        ours push -q 127.0.0.1:5000/lab/back:1
        podman --root "$HOME/other" pull -q --tls-verify=false 127.0.0.1:5000/lab/back:1
        same 'push: digest' "$(cat pushed)" "$(theirs 127.0.0.1:5000/lab/back:1 --root "$HOME/other")"
        "#,
    );
}

#[test]
fn the_same_files_in_what_buildah_has_built() {
    scene(
        &["podman", "buildah", "crun", "umoci", "busybox"],
        r#"
        built
        for step in "${STEPS[@]}"; do
            container=$(buildah from localhost/lab/built:$made)
            buildah run "$container" -- sh -ec "$step"
            made=$((made + 1))
            buildah commit -q "$container" localhost/lab/built:$made
        done
        name=localhost/lab/built:$made
        podman save -q --format oci-archive -o archive $name
        ours load -q -i archive
        seen_alike $name archive
        files "$(buildah mount "$(buildah from $name)")" > buildah.files
        diff buildah.files ours.files
        "#,
    );
}

#[test]
fn the_same_files_in_what_is_committed() {
    scene(
        &["podman", "buildah", "crun", "umoci", "busybox"],
        r#"
        built
        podman save -q --format oci-archive -o archive localhost/lab/built:0
        ours load -q -i archive
        files "$(buildah mount "$container")" > before.files
        for step in "${STEPS[@]}"; do
            id=$(ours run -d localhost/lab/built:$made sleep 1000)
            files "$(seen_in "$id")" > now.files
            diff before.files now.files
            ours exec "$id" sh -ec "$step"
            files "$(seen_in "$id")" > before.files
            made=$((made + 1))
            ours commit "$id" localhost/lab/built:$made
            ours rm -f "$id"
        done
        name=localhost/lab/built:$made
        ours save -o saved $name
        seen_alike $name saved
        diff before.files ours.files
        "#,
    );
}
