#!/bin/bash
# Wrong runtimes of chapter 7: what the program `right` beside this file is, but for one defect, which the name that the
# file is called by tells: 7-stop-once. Most are those of Docker's imitations in Go, some Docker's own or Podman's.
# red.txt says which checks find them.

right=${0%/*}/right
state=${BYHAND_ROOT:-/var/lib/byhand}
defect=${0##*/7-}
verb=$1

# What `inspect` tells of a container by this name, if that is text without a quote in it, or a number.
fact() { "$right" inspect "$1" 2>/dev/null | sed -n "s/^ *\"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" | head -n 1; }

running() { [ "$(fact "$1" Running)" = true ]; }

# The words without the first that is $1, in `words`.
without() {
    local unwanted=$1 found=
    shift
    words=()
    for word; do
        if [ -z "$found" ] && [ "$word" = "$unwanted" ]; then found=1; else words+=("$word"); fi
    done
}

# What follows `exec`: its options, its container, its command.
taken_apart() {
    shift
    options=()
    while [[ $1 == -* ]]; do
        options+=("$1")
        [[ $1 == -[ewu] ]] && options+=("$2") && shift
        shift
    done
    container=$1
    shift
    command=("$@")
}

# CONTAINER:PATH as a path of the host: links in there lead out of it.
on_host() {
    case $1 in
        /* | .* | -) echo "$1" ;;
        *:*) echo "/proc/$(fact "${1%%:*}" Pid)/root/${1#*:}" ;;
        *) echo "$1" ;;
    esac
}

# Does to each container what the function $1 does, and prints its name.
each() {
    local act=$1
    shift
    for container; do "$act" "$container" && echo "$container"; done
}

# `kill` by the number alone that stands in the record. `stop` still follows.
by_number() {
    local number
    number=$(cut -d ' ' -f 1 "$state/records/$(fact "$1" Id)/pid" 2>/dev/null)
    [ -z "$number" ] || kill -TERM "$number"
}

# What SIGSTOP and SIGCONT do: to process 1 only.
halt() { kill -STOP "$(fact "$1" Pid)"; }
go_on() { kill -CONT "$(fact "$1" Pid)"; }

# Freezes process 1 in a cgroup that nobody else knows of.
hide() {
    local group=/sys/fs/cgroup/freezer/hidden
    mkdir -p $group
    fact "$1" Pid >$group/cgroup.procs
    echo FROZEN >$group/freezer.state
}

case $defect/$verb in
    # Nobody to enter: all setns(2) fail, and system(3) runs the command where it is.
    exec-on-host/exec)
        taken_apart "$@"
        running "$container" || exec "${command[@]}"
        ;;
    exec-always-on-host/exec)
        taken_apart "$@"
        exec "${command[@]}"
        ;;
    exec-split/exec)
        taken_apart "$@"
        exec "$right" exec "${options[@]}" "$container" sh -c "${command[*]}"
        ;;
    exec-inner-options/exec)
        taken_apart "$@"
        for word in "${command[@]}"; do
            [[ $word != -* ]] || { echo "unknown shorthand flag: $word" >&2 && exit 125; }
        done
        ;;
    exec-status-lost/exec)
        "$right" "$@" <&0
        exit 0
        ;;
    exec-environment-leaked/exec)
        taken_apart "$@"
        for name in $(compgen -e); do options+=(-e "$name"); done
        exec "$right" exec "${options[@]}" "$container" "${command[@]}"
        ;;
    exec-commas/exec)
        taken_apart "$@"
        for at in "${!options[@]}"; do options[at]=${options[at]%%,*}; done
        exec "$right" exec "${options[@]}" "$container" "${command[@]}"
        ;;
    exec-free/exec) # of the container's limits
        taken_apart "$@"
        exec nsenter --target "$(fact "$container" Pid)" --mount --uts --ipc --net --pid -- "${command[@]}"
        ;;
    exec-no-terminal/exec)
        [ "$2" != -it ] || exec "$right" exec -i "${@:3}"
        ;;
    exec-announced/exec)
        echo 'setns on pid namespace successful'
        ;;
    exec-outlives/exec) # Docker: the end of the client is no end of the command
        setsid "$right" "$@" <&0 &
        wait $!
        exit
        ;;

    # The shell's `&` would do the same.
    detached-in-session/run)
        without -d "$@"
        if [ ${#words[@]} -lt $# ]; then
            file=$(mktemp -u)
            "$right" run --cidfile "$file" "${words[@]:1}" </dev/null >/dev/null 2>&1 &
            until [ -s "$file" ] && [ "$(fact "$(cat "$file")" Status)" = running ]; do sleep 0.01; done
            cat "$file"
            echo
            exit 0
        fi
        ;;
    detached-status-lost/run)
        "$right" "$@" <&0
        exit 0
        ;;
    detached-keeps/run) # --rm, for the one who would have to remove it has left
        without -d "$@"
        if [ ${#words[@]} -lt $# ]; then
            without --rm "$@"
            exec "$right" "${words[@]}"
        fi
        ;;
    restart-ignored/run)
        words=()
        for word; do
            [ "$word" = --restart ] || [ "$last" = --restart ] || words+=("$word")
            last=$word
        done
        exec "$right" "${words[@]}"
        ;;
    restart-deaf/run)
        [[ " $* " != *' --restart '* ]] || exec "$right" "$@" </dev/null
        ;;
    name-taken-away/run) # whoever had it is still there, and nobody finds it
        for word; do
            [ "$last" != --name ] || rm -f "$state/names/$word"
            last=$word
        done
        ;;
    name-any/run)
        for word; do
            if [[ $word == --name=* && ! $word =~ ^--name=[a-zA-Z0-9][a-zA-Z0-9_.-]*$ ]]; then
                without "$word" "$@"
                exec "$right" "${words[@]}"
            fi
        done
        ;;

    logs-without-stderr/logs)
        exec "$right" "$@" 2>/dev/null
        ;;
    logs-in-one/logs)
        exec "$right" "$@" 2>&1
        ;;
    logs-without-times/logs)
        without -t "$@"
        exec "$right" "${words[@]}"
        ;;
    logs-as-text/logs)
        "$right" "$@" | tr -d '\0\377'
        exit "${PIPESTATUS[0]}"
        ;;
    logs-not-followed/logs)
        without -f "$@"
        exec "$right" "${words[@]}"
        ;;
    attach-reads-log/attach)
        exec "$right" logs -f "${@: -1}"
        ;;

    # The state is what was written when it was started: nobody has waited.
    ps-stored/ps)
        "$right" "$@" | sed 's/"exited"/"running"/; s/Exited ([0-9]*) \(.*\) ago/Up \1/'
        exit "${PIPESTATUS[0]}"
        ;;
    ps-keeper-trusted/ps) # Podman: who was killed has written nothing
        "$right" "$@" | sed '/Exited (137)/ { s/"exited"/"running"/; s/Exited ([0-9]*) \(.*\) ago/Up \1/ }'
        exit "${PIPESTATUS[0]}"
        ;;
    ps-all/ps)
        exec "$right" "$@" -a
        ;;
    ps-status-lost/ps)
        "$right" "$@" | sed 's/Exited ([0-9]*)/Exited (0)/'
        exit "${PIPESTATUS[0]}"
        ;;
    inspect-state-only/inspect)
        "$right" "$@" | sed 's/"\(User\|WorkingDir\|Source\)": ".*"/"\1": ""/'
        exit "${PIPESTATUS[0]}"
        ;;
    wait-not/wait)
        shift
        for container; do
            if running "$container"; then echo 0; else "$right" wait "$container"; fi
        done
        exit 0
        ;;

    # SIGTERM once, and whatever it does: stopped.
    stop-once/stop)
        while [[ $2 == -* ]]; do set -- stop "${@:4}"; done
        exec "$right" kill -s TERM "${@:2}"
        ;;
    stop-one-by-one/stop)
        [[ $2 != -t ]] || options=(-t "$3")
        for container in "${@:$((${#options[@]} + 2))}"; do "$right" stop "${options[@]}" "$container"; done
        exit 0
        ;;
    stop-by-number/stop)
        by_number "${@: -1}"
        ;;
    # What has ended by itself can't be stopped, for it is gone; and not be removed, for it was not stopped.
    ended-for-ever/stop | ended-for-ever/rm)
        without -f "$@"
        if [ ${#words[@]} = $# ]; then
            for container in "${@:2}"; do
                running "$container" || { echo "container $container: no such process" >&2 && exit 1; }
            done
        fi
        ;;
    kill-never-fails/kill)
        "$right" "$@" 2>/dev/null
        exit 0
        ;;
    rm-forces/rm)
        exec "$right" rm -f "${@:2}"
        ;;
    rm-abandons/rm) # one that runs is forgotten, and runs on
        if [ "$2" = -f ] && running "$3"; then
            mv "$state/records/$(fact "$3" Id)" "$(mktemp -d)"
            echo "$3"
            exit 0
        fi
        ;;
    root-writable/run)
        without --read-only "$@"
        exec "$right" "${words[@]}"
        ;;
    root-read-only-once/start)
        id=$(fact "${@: -1}" Id)
        [ -z "$id" ] || sed -i 's/--read-only\x00//' "$state/records/$id/arguments"
        ;;
    start-patient/start) # whoever has the lock will be done with it, some day
        if running "${@: -1}" && [ "$(fact "${@: -1}" Pid)" = 0 ]; then sleep 22; fi
        ;;
    start-empty/start) # what it wrote is gone
        id=$(fact "${@: -1}" Id)
        [ -z "$id" ] || running "$id" || find "$state/records/$id/upper" -mindepth 1 -delete
        ;;

    rename-in-steps/rename) # looks first, and does it then
        id=$(fact "$2" Id)
        if [ -n "$id" ] && [ ! -L "$state/names/$3" ] && [[ $3 =~ ^[a-zA-Z0-9][a-zA-Z0-9_.-]+$ ]]; then
            old=$(cat "$state/records/$id/name" 2>/dev/null)
            sleep 0.1
            ln -sfn "$id" "$state/names/$3"
            echo "$3" >"$state/records/$id/name"
            [ -z "$old" ] || rm -f "$state/names/$old"
            exit 0
        fi
        ;;
    stop-not-paused/stop) # Docker, once
        if [ "$(fact "${@: -1}" Paused)" = true ]; then
            echo "container ${*: -1} is paused: unpause it first" >&2
            exit 1
        fi
        ;;

    # Of a damaged record.
    refusal-panics/exec | refusal-panics/kill | refusal-panics/pause | refusal-panics/unpause)
        "$right" "$@" 2>/dev/null || {
            status=$?
            [ $status = 1 ] || exit $status
            echo "thread 'main' panicked: called \`Option::unwrap()\` on a \`None\` value" >&2
            exit 101
        }
        exit 0
        ;;
    rm-needs-facts/rm)
        for container; do
            if [ -d "$state/records/$container" ] && [ ! -s "$state/records/$container/created" ]; then
                echo "container $container has no fact created" >&2
                exit 1
            fi
        done
        ;;
    ps-guesses/ps) # what it does not know has never run
        program=
        for record in "$state"/records/*/; do
            [ -s "${record}arguments" ] && [ -s "${record}created" ] ||
                program+="/$(basename "$record")/ s/Exited ([0-9]*) [^\"]*\|Up [^\"]*/Created/;"
        done
        "$right" "$@" | sed "$program"
        exit "${PIPESTATUS[0]}"
        ;;
    ps-all-or-nothing/ps)
        for record in "$state"/records/*/; do
            if [ -d "$record" ] && ! grep -q '^[0-9.]*$' "${record}created" 2>/dev/null; then
                echo "${record}created: invalid digit found in string" >&2
                exit 1
            fi
        done
        ;;

    cp-incapable/cp) # the mode, and no attribute
        without -a "${@:2}"
        exec cp -r --preserve=mode "$(on_host "${words[0]}")" "$(on_host "${words[1]}")"
        ;;
    cp-naive/cp)
        without -a "${@:2}"
        exec cp -a "$(on_host "${words[0]}")" "$(on_host "${words[1]}")"
        ;;
    cp-follows/cp)
        without -a "${@:2}"
        to=$(on_host "${words[1]}")
        mkdir -p "$to"
        tar -C "$(on_host "${words[0]}")" -ch . 2>/dev/null | tar -C "$to" -x --keep-directory-symlink 2>/dev/null
        exit 0
        ;;
    pause-lies/pause | pause-lies/unpause)
        each true "${@:2}"
        exit 0
        ;;
    pause-process-1/pause)
        each halt "${@:2}"
        exit 0
        ;;
    pause-process-1/unpause)
        each go_on "${@:2}"
        exit 0
        ;;
    pause-hides/pause)
        each hide "${@:2}"
        exit 0
        ;;
    top-first/top)
        "$right" "$@" | head -n 2
        exit "${PIPESTATUS[0]}"
        ;;
    stats-zero/stats)
        "$right" "$@" | sed 's/[0-9.]*%/0.00%/g'
        exit "${PIPESTATUS[0]}"
        ;;
    completion-broken/completion)
        echo 'run exec inspect unpause ('
        exit 0
        ;;
esac
exec "$right" "$@"
