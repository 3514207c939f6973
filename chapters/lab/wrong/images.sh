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
    rmi-forces/rmi) exec "$right" rmi -f "${@:2}" ;;
    history-oldest-first/history)
        "$right" "$@" | { IFS= read -r head && printf '%s\n' "$head" && tac; }
        exit
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
    push-nothing/push)
        echo "${@: -1}"
        exit 0
        ;;
esac
exec "$right" "$@"
