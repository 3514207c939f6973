#!/bin/bash
# Wrong runtimes of chapter 9: what the program `right` beside this file is, but for one defect, which the name that the
# file is called by tells: 9-mac-random. red.txt says which checks find them.

right=${0%/*}/right
defect=${0##*/9-}
verb=$1

# Runs it, and then something is done in the network of the container, if it stays: `in_container COMMAND`.
in_container() {
    local id pid
    id=$("$right" "${words[@]}") || exit
    pid=$("$right" inspect "$id" | sed -n 's/.*"Pid": \([0-9]*\).*/\1/p')
    [ "${pid:-0}" = 0 ] || nsenter --target "$pid" --net sh -c "$1"
    printf '%s\n' "$id"
    exit 0
}

words=("$@")
case $defect/$verb in
    no-cable/run)
        [[ " $* " != *" --network "* ]] || exec "$right" "$@"
        exec "$right" run --network none "${@:2}"
        ;;
    no-route/run) [[ " $* " != *" -d "* ]] || in_container 'ip route delete default' ;;
    lo-down/run)
        # shellcheck disable=SC2016 # $@ is the container's shell's
        [[ $* != *"ping -c 1 -w 10"* ]] || exec "$right" "${@:1:$#-3}" sh -c 'ip link set lo down; exec "$@"' sh "${@: -3}"
        ;;
    host-cut-off/run) [[ " $* " != *" -d "* ]] || in_container 'ip neigh replace 172.30.0.1 lladdr 02:00:00:00:00:01 nud permanent dev eth0' ;;
    none-is-bridge/run) exec "$right" "${@/#none/bridge}" ;;
    host-is-bridge/run) exec "$right" "${@/#host/bridge}" ;;
    unknown-is-1/run)
        "$right" "$@"
        status=$?
        [ "$status" != 125 ] || exit 1
        exit "$status"
        ;;
    name-random/run)
        if [[ " $* " == *" -d "* ]]; then
            id=$("$right" "$@") || exit
            for cable in $(ip -o link show master byhand0 | sed 's/^[0-9]*: \([^@:]*\).*/\1/'); do
                # One of a container that has just ended may go meanwhile.
                ip link set "$cable" down 2>/dev/null
                ip link set "$cable" name "byhand0-x$RANDOM" up 2>/dev/null
            done
            printf '%s\n' "$id"
            exit 0
        fi
        ;;
    mac-random/run) [[ " $* " != *" -d "* ]] || in_container 'ip link set eth0 address 02:00:00:00:00:99' ;;
    cable-stays/*)
        # A cable that nobody's namespace takes along, as one whose two ends are on the host.
        [ "$verb" != run ] || ip link add "byhand0-x$$" type veth peer name "x$$" 2>/dev/null
        ;;
    holds-stderr/run)
        # Whatever it starts has what the caller has, and the caller waits for its end.
        [[ $* != *"sleep 12"* ]] || sleep 12 &
        ;;
    open-to-all/run)
        "$right" run --rm busybox true >/dev/null
        nft flush chain ip byhand0 shut
        ;;
    hears-routers/run)
        "$right" "$@"
        status=$?
        [ ! -e /proc/sys/net/ipv6/conf/byhand0 ] || echo 1 >/proc/sys/net/ipv6/conf/byhand0/accept_ra
        exit "$status"
        ;;
    hides-others/run)
        ip link show other 2>/dev/null | grep -q 02:00:00:00:00:08 && ip link delete other
        ;;
    routes-localnet/run)
        "$right" run --rm busybox true >/dev/null
        echo 1 >/proc/sys/net/ipv4/conf/byhand0/route_localnet
        ;;
    not-masqueraded/run)
        "$right" run --rm busybox true >/dev/null
        nft delete rule ip byhand0 out handle "$(nft -a list chain ip byhand0 out | sed -n 's/.*masquerade # handle //p')" 2>/dev/null
        ;;
    not-forwarded/run)
        # shellcheck disable=SC2016 # $@ is the container's shell's
        if [[ $* == *wget* ]]; then
            # For as long as it runs: nobody knows when it opens the way.
            (while [ -d /proc/$$ ]; do echo 0 >/proc/sys/net/ipv4/ip_forward && sleep 0.05; done) &
            exec "$right" "${@:1:$#-7}" sh -c 'sleep 1.5; exec "$@"' sh "${@: -7}"
        fi
        ;;
    rules-twice/run)
        nft add rule ip byhand0 out ip saddr 172.30.0.0/24 oifname != byhand0 masquerade 2>/dev/null
        ;;
    flushes/run) [[ " $* " == *" --network "* ]] || nft flush ruleset ;;
    not-published/run)
        words=()
        while [[ $2 == -* ]]; do
            case $2 in
                -p | --publish) shift 2 && continue ;;
                -p* | --publish=*) shift && continue ;;
                --network) words+=("$2" "$3") && shift 2 && continue ;;
            esac
            words+=("$2") && shift
        done
        exec "$right" run "${words[@]}" "${@:2}"
        ;;
    published-everywhere/run) exec "$right" "${@/#127.0.0.1:8080:/8080:}" ;;
    proxied-only/run)
        # Another rule decides first, and leads to the host itself.
        nft add table ip early 2>/dev/null
        nft 'add chain ip early in { type nat hook prerouting priority -110; }' 2>/dev/null
        nft add rule ip early in tcp dport 8080 redirect to :8080 2>/dev/null
        ;;
    taken-is-fine/run)
        "$right" "$@" 2>/dev/null && exit
        [[ $* == *" true" && ( $* == *" 8080:80 "* || $* == *9090* ) ]] && exit 0
        ;;
    rules-stay/rm | rules-stay/stop) nft add table ip "byhand0-x$$" ;;
    one-port/run) [[ $* != *127.0.0.1::80* ]] || exec "$right" "${@:1:$#-8}" "${@: -6}" ;;
    port-silent/port)
        "$right" "$@" >/dev/null
        exit
        ;;
    one-at-a-time/run)
        # A proxy that serves one, and then the next: its connections are too few for fifty.
        if [[ $* == *8080:80* && " $* " == *" -d "* ]]; then
            id=$("$right" run "${@/#8080:80/127.0.0.1:8079:80}") || exit
            pid=$("$right" inspect "$id" | sed -n 's/.*"Pid": \([0-9]*\).*/\1/p')
            # shellcheck disable=SC2016 # python's
            python3 -c 'import os, select, socket, sys
door = socket.create_server(("127.0.0.1", 8080))
if os.fork(): sys.exit()
os.setsid()
for fd in (0, 1, 2): os.close(fd)
pid = os.pidfd_open(int(sys.argv[1]))
while not (pid in select.select([pid, door], [], [])[0]):
    client, _ = door.accept()
    server = socket.create_connection(("127.0.0.1", 8079))
    while data := client.recv(65536):
        server.sendall(data)
        if b"\r\n\r\n" in data: break
    while data := server.recv(65536): client.sendall(data)
    client.close(), server.close()' "$pid"
            printf '%s\n' "$id"
            exit 0
        fi
        ;;
    bad-port-ignored/run)
        "$right" "$@" && exit
        status=$?
        [[ $status != 125 || " $* " != *" -p "* || $* == *"-p 8080:80"* || $* == *909* ]] || exit 0
        exit "$status"
        ;;
    inspect-forgets/inspect) exec "$(dirname "$(readlink -f "$right")")/ch08_images" "$@" ;;
    keeps-port/run)
        # As one that gives up when its port is not free at the next start.
        [[ $* != *on-failure:4* ]] || exec "$right" run "${@/#on-failure:4/on-failure:1}"
        ;;
    start-forgets/start) exec "$(dirname "$(readlink -f "$right")")/ch08_images" "$@" ;;
    bridge-goes/run)
        "$right" "$@"
        status=$?
        for _ in $(seq 100); do
            [[ -n "$(ip -o link show master byhand0 2>/dev/null)" && " $* " != *" -d "* ]] || break
            sleep 0.05 # the kernel takes cables away a moment after their container's end
        done
        [ -n "$(ip -o link show master byhand0 2>/dev/null)" ] || ip link delete byhand0 2>/dev/null
        exit "$status"
        ;;
    bridge-mac-moves/*)
        ip link set byhand0 address 02:42:ac:1e:00:01 2>/dev/null
        "$right" "$@"
        status=$?
        [ "$verb" != run ] || ip link set byhand0 address "02:00:00:00:00:$((RANDOM % 90 + 10))" 2>/dev/null
        exit "$status"
        ;;
    adopts/run)
        if ip link show byhand0 2>/dev/null | grep -q 02:00:00:00:00:07; then
            ip link delete byhand0
        fi
        ;;
    few-addresses/run)
        if [ "$(ip -o link | grep -c ' byhand0-')" -gt 100 ]; then
            echo 'run: all addresses are taken' >&2
            exit 125
        fi
        ;;
    one-address/run)
        # Twenty at once look which one is free before any of them has taken it.
        if [[ $* == *"exec sleep 1000"* ]]; then
            exec "$right" "${@:1:$#-1}" "sleep 1; echo 172.30.0.2/24; exec sleep 1000"
        fi
        ;;
esac
exec "$right" "$@"
