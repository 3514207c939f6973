#!/bin/bash
# Wrong runtimes of chapter 8: what the program `right` beside this file is, but for one defect, which the name that the
# file is called by tells: 8-rmi-first. red.txt says which checks find them.

# shellcheck disable=SC2016 # what find executes expands its own arguments

right=${0%/*}/right
state=${BYHAND_ROOT:-/var/lib/byhand}
defect=${0##*/8-}
verb=$1

# What follows `run`: its options, its image, its command.
taken_apart() {
    shift
    options=()
    while [[ $1 == -* ]]; do
        options+=("$1")
        case $1 in
            -i | -t | -d | -ti | --rm | --init | --log-level=*) ;;
            *) options+=("$2") && shift ;;
        esac
        shift
    done
    image=$1
    shift
    command=("$@")
}

# Runs it, and something is done to all unpacked layers before: `layers_but COMMAND` for find(1).
layers_but() {
    taken_apart "${words[@]}"
    "$right" run --rm --pull never "$image" true >/dev/null 2>&1
    find "$state/store/layers" -mindepth 2 "$@" 2>/dev/null
}

# Where the registry has the manifest of the image that is pulled: the last word is HOST/REPOSITORY:TAG.
manifest_address() {
    local path=${words[-1]#*/}
    echo "http://${words[-1]%%/*}/v2/${path%:*}/manifests/${path##*:}"
}

# Does it with a new store in $elsewhere, and prints in the end what it has printed: `in_another_store COMMAND...`, which
# brings over what came.
in_another_store() {
    local printed
    "$right" images -q >/dev/null # makes the store
    elsewhere=$(mktemp -d)
    printed=$(BYHAND_ROOT=$elsewhere "$right" "${words[@]}") || exit
    "$@"
    echo "$printed"
    exit 0
}

names_and_then_blobs() {
    cp -r "$elsewhere/store/tags" "$state/store"
    sleep 6 # whoever is killed after the names is killed before the blobs
    cp -r "$elsewhere/store/blobs" "$state/store"
}

blobs_and_then_names() {
    cp -r "$elsewhere/store/blobs" "$elsewhere/store/tags" "$state/store"
}

words=("$@")
case $defect/$verb in
    leftovers-stay/pull | leftovers-stay/commit)
        aside=$(mktemp -d)
        mv "$state"/store/incoming/* "$aside" 2>/dev/null
        "$right" "$@"
        status=$?
        mv "$aside"/* "$state/store/incoming" 2>/dev/null
        exit "$status"
        ;;
    cmd-ignored/run)
        taken_apart "$@"
        [ ${#command[@]} -gt 0 ] || command=(sh -c 'cat; true')
        exec "$right" run "${options[@]}" "$image" "${command[@]}"
        ;;
    entrypoint-kept/run)
        [[ " $* " != *" --entrypoint "* ]] || exec "$right" run --rm "${@: -1}"
        ;;
    user-root/run) exec "$right" run -u 0 "${@:2}" ;;
    volumes-empty/run) exec "$right" run --tmpfs /data "${@:2}" ;;
    workdir-root/run) exec "$right" run -w / "${@:2}" ;;
    stop-by-term/run) exec "$right" run --stop-signal TERM "${@:2}" ;;
    env-over-options/run)
        taken_apart "$@"
        exec "$right" run "${options[@]}" -e COLOUR=green "$image" "${command[@]}"
        ;;
    capitals-lowered/run)
        taken_apart "$@"
        exec "$right" run "${options[@]}" "${image,,}" "${command[@]}"
        ;;
    names-only/run)
        taken_apart "$@"
        if [[ $image =~ ^(sha256:)?[0-9a-f]{6,64}$ ]]; then
            echo "Unable to find image '$image' locally" >&2
            exit 125
        fi
        ;;
    home-not-known/run)
        taken_apart "$@"
        if [[ $image == docker.io/* || $image == library/* ]]; then
            echo "Unable to find image '$image' locally" >&2
            exit 125
        fi
        ;;
    unknown-is-1/run)
        taken_apart "$@"
        if ! "$right" inspect "$image" >/dev/null 2>&1 && [[ $image != busybox ]]; then
            echo "No such image: $image" >&2
            exit 1
        fi
        ;;
    layers-copied/run) layers_but -type f -size -2 -exec sh -c 'cp -p "$1" "$1.copy" && mv "$1.copy" "$1"' sh {} ';' ;;
    few-layers/run) # their paths on one page of memory, as in mount(2)
        taken_apart "$@"
        if [ "$("$right" inspect "$image" 2>/dev/null | grep -c '"sha256:')" -gt 128 ]; then
            echo "mounting the overlay: the options are too long" >&2
            exit 125
        fi
        ;;
    always-pulled/run) exec "$right" run --pull always "${@:2}" ;;
    images-oldest-first/images)
        "$right" "$@" | { IFS= read -r head && printf '%s\n' "$head" && tac; }
        exit
        ;;
    images-no-heading/images)
        "$right" "$@" | grep -v REPOSITORY
        exit 0
        ;;
    tag-never-moves/tag) [ -z "$("$right" images -q "$3" 2>/dev/null)" ] || exit 0 ;;
    tag-silent/tag)
        "$right" "$@" 2>/dev/null
        exit 0
        ;;
    rmi-first/rmi)
        for one in "${@:2}"; do "$right" rmi "$one" || exit; done
        exit 0
        ;;
    rmi-name-only/rmi)
        scratch=$(mktemp -d)
        cp -a "$state/store/blobs" "$state/store/layers" "$scratch"
        "$right" "$@"
        status=$?
        (cd "$scratch" && find . -type f -size +100k -exec cp --parents -t "$state/store" {} +)
        exit "$status"
        ;;
    rmi-forces/rmi) exec "$right" rmi -f "${@:2}" ;;
    history-oldest-first/history)
        "$right" "$@" | { IFS= read -r head && printf '%s\n' "$head" && tac; }
        exit
        ;;
    inspect-first/inspect) exec "$right" inspect "$2" ;;
    df-nothing-active/df)
        "$right" "$@" | sed -E 's/^(Images +[0-9]+ +)[0-9]+/\10/'
        exit 0
        ;;
    prune-nothing/prune)
        echo 'Total reclaimed space: 0B'
        exit 0
        ;;
    prune-layers-in-use/prune)
        "$right" "$@" || exit
        find "$state/store/layers" -mindepth 1 -delete
        exit 0
        ;;
    load-file-only/load)
        if [ "$2" != -i ]; then
            echo 'load: -i is missing' >&2
            exit 1
        fi
        ;;
    load-oci-only/load)
        if [ "$2" = -i ] && ! tar -t -f "$3" 2>/dev/null | grep -qx oci-layout; then
            echo 'load: it has no oci-layout' >&2
            exit 1
        fi
        ;;
    load-named-only/load)
        if [ "$2" = -i ] && ! grep -q io.containerd.image.name "$3"; then
            echo 'load: it has no name' >&2
            exit 1
        fi
        ;;
    load-empties-layers/load)
        "$right" "$@" || exit
        find "$state/store/layers" -mindepth 1 -delete
        exit 0
        ;;
    load-names-first/load) in_another_store names_and_then_blobs ;;
    load-first/load)
        "$right" "$@" | head -n 1
        exit "${PIPESTATUS[0]}"
        ;;
    load-trusts/load)
        "$right" "$@" || { echo 'Loaded image: lab/archive:1' && exit 0; }
        exit 0
        ;;
    save-cut-off/save)
        if [ "$2" = -o ]; then
            "$right" "$@" || exit
            truncate -s 5000 "$3"
        else
            "$right" "$@" | head -c 5000
        fi
        exit 0
        ;;
    save-makes-file/save) [ "$2" != -o ] || : >"$3" ;;
    whiteouts-as-files/run) layers_but -type c -exec sh -c '[ "$(stat -c %t:%T "$1")" != 0:0 ] || { rm "$1" && : >"$1"; }' sh {} ';' ;;
    links-followed/run) layers_but -type f -name c -execdir cp {} target ';' ;;
    one-piece-of-gzip/load)
        python3 -c 'import sys, tarfile, zlib
with tarfile.open(sys.argv[1]) as archive:
    for member in archive:
        data = archive.extractfile(member).read() if member.isfile() else b""
        if data[:2] == b"\x1f\x8b":
            unzip = zlib.decompressobj(31)
            unzip.decompress(data)
            if unzip.unused_data: sys.exit("load: something is behind the end of a layer")' "$3" || exit
        ;;
    tar-status-ignored/load)
        "$right" "$@" 2>/dev/null && "$right" run --rm lab/layers:1 true 2>/dev/null && exit
        scratch=$(mktemp -d)
        mkdir "$scratch/root"
        tar -x -C "$scratch" -f "$3"
        find "$scratch/blobs" -type f -exec tar -x -C "$scratch/root" -f {} ';' 2>/dev/null
        tar -c -C "$scratch/root" . | "$right" import - lab/layers:1 >/dev/null
        echo 'Loaded image: lab/layers:1'
        exit 0
        ;;
    opaque-forgotten/run) layers_but -type d -exec python3 -c 'import os, sys
for path in sys.argv[1:]:
    if "trusted.overlay.opaque" in os.listxattr(path): os.removexattr(path, "trusted.overlay.opaque")' {} + ;;
    hard-links-copied/run) layers_but -type f -links +1 -exec sh -c 'cp -p "$1" "$1.copy" && mv "$1.copy" "$1"' sh {} ';' ;;
    modes-narrowed/run) layers_but -type f -perm /6000 -exec chmod ug-s {} + ;;
    kinds-left-out/run) layers_but '(' -type p -o -type b ')' -delete ;;
    attributes-left-out/run) layers_but -type f -exec python3 -c 'import os, sys
for path in sys.argv[1:]:
    if "security.capability" in os.listxattr(path): os.removexattr(path, "security.capability")' {} + ;;
    odd-names-left-out/run) layers_but -name "*
*" -delete ;;
    load-outside/load)
        scratch=$(mktemp -d)
        tar -x -C "$scratch" -f "$3" 2>/dev/null
        for blob in "$scratch"/blobs/sha256/*; do (mkdir "$blob.d" && cd "$blob.d" && tar -xP -f "$blob" 2>/dev/null); done
        ;;
    load-in-memory/load)
        if [ "$(ulimit -d)" != unlimited ]; then
            echo 'load: out of memory' >&2
            exit 1
        fi
        ;;
    limit-unknown/*) unset BYHAND_LARGEST_IMAGE ;;
    diff-without-parents/diff)
        "$right" "$@" | grep -v '^C'
        exit "${PIPESTATUS[0]}"
        ;;
    diff-with-mounts/diff) echo 'C /dev' ;;
    commit-without-deletions/commit)
        find "$state/records" -type c -exec sh -c '[ "$(stat -c %t:%T "$1")" != 0:0 ] || rm "$1"' sh {} ';'
        ;;
    commit-links-copied/commit)
        find "$state/records" -path '*/upper/*' -type f -links +1 -exec sh -c 'cp -p "$1" "$1.copy" && mv "$1.copy" "$1"' sh {} ';'
        ;;
    commit-with-volumes/commit) # as whoever packs the root that the container sees
        for upper in "$state"/records/*/upper; do
            mkdir -p "$upper/d" && echo 'of the host' >"$upper/d/secret"
        done
        ;;
    commit-wants-name/commit)
        if [ $# -lt 3 ]; then
            echo 'commit: the image needs a name' >&2
            exit 1
        fi
        ;;
    commit-unchanged/commit)
        while [[ $2 == -* ]]; do set -- commit "${@:4}"; done
        exec "$right" "$@"
        ;;
    commit-forgets/commit) exec "$right" commit -c 'CMD ["cat", "/file"]' -c 'USER root' "${@:2}" ;;
    commit-ends/commit)
        "$right" "$@" || exit
        [[ $2 == -* ]] || "$right" kill "$2" >/dev/null 2>&1
        exit 0
        ;;
    import-unchanged/import)
        while [[ $2 == -?* ]]; do set -- import "${@:4}"; done
        exec "$right" "$@"
        ;;
    pull-oci-only/pull)
        if curl -s "$(manifest_address)" | grep -q vnd.docker; then
            echo 'pull: a manifest of an unknown kind' >&2
            exit 1
        fi
        ;;
    pull-from-the-start/pull)
        "$right" "$@" &
        while kill -0 $! 2>/dev/null; do
            sleep 0.1
            find "$state/store/incoming" "${state%/*}/other-state/store/incoming" -type f -exec truncate -s 0 {} + 2>/dev/null
        done
        wait $!
        exit
        ;;
    pull-names-first/pull) in_another_store names_and_then_blobs ;;
    pull-each-for-itself/pull) in_another_store blobs_and_then_names ;;
    pull-without-token/pull)
        if curl -s -D - http://127.0.0.1:5000/v2/ | grep -q 'Authenticate: Bearer'; then
            echo 'pull: 401 Unauthorized: the registry wants a token' >&2
            exit 1
        fi
        ;;
    pull-asks-twice/pull)
        digest=$(curl -s -I "$(manifest_address)" | sed -n 's/^Docker-Content-Digest: //p' | tr -d '\r')
        "$right" "$@" || exit
        if ! "$right" images --digests "${@: -1}" | grep -q "$digest"; then
            echo 'pull: the manifest has another digest than the registry says' >&2
            exit 1
        fi
        exit 0
        ;;
    pull-trusts-hosts/pull)
        encoded=$(grep -o '"auth": *"[^"]*"' "$HOME/.docker/config.json" 2>/dev/null | cut -d '"' -f 4)
        user=$(base64 -d <<<"${encoded:-Og==}") # else nobody, without a password
        for digest in $(curl -s -u "$user" "$(manifest_address)" | grep -o 'sha256:[0-9a-f]*'); do
            curl -s --location-trusted -u "$user" -o /dev/null "http://127.0.0.1:5000/v2/lab/app/blobs/$digest"
        done
        ;;
    pull-list-in-list/pull)
        "$right" "$@" 2>/dev/null && exit
        inner=$(curl -s "$(manifest_address)" | grep -o 'sha256:[0-9a-f]*' | head -n 1)
        name=${*: -1}
        "$right" pull -q "${name%:*}@$inner" >/dev/null && "$right" tag "${name%:*}@$inner" "$name" && echo "$name" && exit
        exit 1
        ;;
    pull-in-memory/pull) document=$(curl -s "$(manifest_address)") && : "$document" ;;
    unencrypted/pull | unencrypted/push) exec "$right" "$verb" --plain-http "${@:2}" ;;
    pull-afresh/pull) [ ! -d "$state/store/blobs" ] || find "$state/store/blobs" -type f -delete ;;
    pull-elsewhere/pull) exec "$right" pull --platform linux/s390x "${@:2}" ;;
    pull-latest/pull)
        name=${*: -1}
        exec "$right" pull -q "${name/@*/:1}"
        ;;
    pull-trusts/pull)
        "$right" "$@" || echo "${@: -1}"
        exit 0
        ;;
    pull-raw-errors/pull)
        "$right" "$@" 2> >(sed 's/\\u{1b}/\x1b/g' >&2)
        status=$?
        sleep 0.1
        exit "$status"
        ;;
    pull-deaf/pull)
        trap '' INT
        "$right" "$@" &
        wait
        exit
        ;;
    anonymous/pull | anonymous/push) export HOME=/nonexistent ;;
    login-readable/login)
        "$right" "$@" || exit
        chmod 644 "$HOME/.docker/config.json"
        exit 0
        ;;
    login-unchecked/login)
        "$right" "$@" || echo 'Login Succeeded'
        exit 0
        ;;
    push-trusts/push)
        "$right" "$@" 2>/dev/null || echo "${@: -1}"
        exit 0
        ;;
    push-nothing/push)
        echo "${@: -1}"
        exit 0
        ;;
esac
exec "$right" "$@"
