#!/bin/bash
# Wrong runtimes of chapter 9: what the program `right` beside this file is, but for one defect, which the name that the
# file is called by tells: 9-mac-random. red.txt says which checks find them.

right=${0%/*}/right
defect=${0##*/9-}
verb=$1

# Runs it, and then something is done in the network of the container, if it stays: `in_container COMMAND`.
in_container() {
    local id
    id=$("$right" "${words[@]}") || exit
    pid=$("$right" inspect "$id" | sed -n 's/.*"Pid": \([0-9]*\).*/\1/p')
    export pid
    [ "${pid:-0}" = 0 ] || nsenter --target "$pid" --net sh -c "$1"
    printf '%s\n' "$id"
    exit 0
}

# Runs it without an option that takes a word: `without --dns`.
without() {
    local kept=() skip=
    for word in "${words[@]}"; do
        if [ "$skip" ]; then
            skip=
        elif [ "$word" = "$1" ]; then
            skip=yes
        else
            [[ $word == "$1="* ]] || kept+=("$word")
        fi
    done
    exec "$right" "${kept[@]}"
}

# Runs it without options that take no word: `without_flag -P --publish-all`.
without_flag() {
    local kept=()
    for word in "${words[@]}"; do
        [[ " $* " == *" $word "* ]] || kept+=("$word")
    done
    exec "$right" "${kept[@]}"
}

# Does something in the network of a container that runs: `inside CONTAINER COMMAND`.
inside() {
    local pid
    pid=$("$right" inspect "$1" 2>/dev/null | sed -n 's/.*"Pid": \([0-9]*\).*/\1/p')
    [ "${pid:-0}" = 0 ] || nsenter --target "$pid" --net sh -c "$2" 2>/dev/null
}

# Runs it with an empty file in the place of one of its own.
emptied() {
    [[ ${words[*]} != *:/etc/* ]] || exec "$right" "${words[@]}"
    exec "$right" run -v "/dev/null:$1" "${words[@]:1}"
}

# Somebody between a container's programs and its resolver, who hears all that goes there by UDP and spoils one thing.
export between='import os, socket, sys, threading
defect, pid = sys.argv[1], int(os.environ["pid"])
place, own, to = ("0.0.0.0", 5353), "127.0.0.99", ("127.0.0.11", 53)
if defect == "takes-any": place, own, to = ("127.0.0.7", 53), "127.0.0.1", ("127.0.0.1", 53)
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.bind(place)
if os.fork(): sys.exit()
os.setsid()
for fd in (0, 1, 2): os.close(fd)
container = os.pidfd_open(pid)
def leave():
    import select
    select.select([container], [], [])
    os._exit(0)
threading.Thread(target=leave).start()
def forward(question):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
        asks.bind((own, 0))
        asks.settimeout(6)
        asks.sendto(question, to)
        return asks.recv(65536)
def say(question):
    if defect == "crashes" and len(question) < 12: os._exit(1)
    kind = question[-4:-2]
    nobody = question[:2] + b"\x81\x83\0\1" + bytes(6) + question[12:]
    if defect == "case-matters" and question[12:] != question[12:].lower(): return nobody
    if defect == "no-reverse" and kind == b"\0\x0c": return nobody
    if defect == "six-unknown" and kind == b"\0\x1c": return nobody
    if defect == "ipv6-nameless" and kind == b"\0\x1c": return question[:2] + b"\x81\x80\0\1" + bytes(6) + question[12:]
    if defect == "ipv6-no-reverse" and b"\3ip6" in question: return nobody
    if defect == "forwards-nothing" and b"example" in question: return nobody
    if defect == "names-of-first" and b"there" in question: return nobody
    if defect == "searches" and b"example" not in question: forward(question[:-5] + b"\7example" + question[-5:])
    answer = forward(question)
    if defect == "takes-any": return question[:2] + answer[2:]
    if defect == "waits" and answer[3] & 15 == 2: return b""
    if defect == "knows-all" and answer[3] & 15 == 3:
        return question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\xac\x1e\2\2"
    if defect == "not-cut": return answer[:2] + bytes([answer[2] & 0xfd]) + answer[3:]
    if defect == "one-of-many" and answer[7] > 1:
        end = len(question) + (len(answer) - len(question)) // answer[7]
        return answer[:7] + b"\1" + answer[8:end]
    return answer
def serve(question, client):
    try:
        if answer := say(question): door.sendto(answer, client)
    except OSError: pass
while True:
    question, client = door.recvfrom(65536)
    if defect == "one-question": serve(question, client)
    else: threading.Thread(target=serve, args=(question, client)).start()'

# Runs it with that one in between: `heard_by NAME [HOOK]`.
heard_by() {
    [[ " ${words[*]} " == *" -d "* ]] || exec "$right" "${words[@]}"
    [[ " ${words[*]} " != *" --network "* || $1 == knows-all || $1 == names-of-first || $1 == ipv6-* ]] || exec "$right" "${words[@]}"
    # shellcheck disable=SC2016 # the inner shell's
    in_container 'nft "add table ip between; add chain ip between c { type nat hook '"${2:-output}"' priority -100; };
        add rule ip between c ip saddr != 127.0.0.99 udp dport 53 redirect to :5353"
        python3 -c "$between" '"$1"
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
    no-resolver/run) [[ " $* " != *" -d "* ]] || in_container 'nft "add table ip no; add chain ip no c { type filter hook output priority 0; }; add rule ip no c udp dport 53 reject"' ;;
    udp-only/run) [[ " $* " != *" -d "* ]] || in_container 'nft "add table ip no; add chain ip no c { type filter hook output priority 0; }; add rule ip no c tcp dport 53 reject with tcp reset"' ;;
    nameless/run) without --name ;;
    unaliased/run) without --network-alias ;;
    dns-ignored/run) without --dns ;;
    hosts-unadded/run) without --add-host ;;
    names-stay/rm)
        # As one that keeps a list, and forgets to strike out whoever has gone.
        is_removed=$("$right" inspect "${@: -1}" | grep -c '"Name": "/\?removed"')
        "$right" "$@" || exit
        [ "$is_removed" = 0 ] || "$right" run -d --name removed busybox sleep 1000 >/dev/null
        exit 0
        ;;
    rename-unheard/rename)
        # Its own records have the new name, and the network has the old one.
        exec "$(dirname "$(readlink -f "$right")")/ch08_images" "$@"
        ;;
    case-matters/run | one-of-many/run | no-reverse/run | six-unknown/run | forwards-nothing/run | searches/run | waits/run | not-cut/run | crashes/run | one-question/run)
        heard_by "$defect"
        ;;
    open/run) heard_by open prerouting ;;
    takes-any/run)
        if [[ " $* " == *" -d "* && " $* " != *" --network "* ]]; then
            id=$("$right" run --dns 127.0.0.7 "${@:2}") || exit
            pid=$("$right" inspect "$id" | sed -n 's/.*"Pid": \([0-9]*\).*/\1/p') python3 -c "$between" takes-any
            printf '%s\n' "$id"
            exit 0
        fi
        ;;
    one-of-range/run) exec "$right" "${@/%8000-8002:80-82/8000:80}" ;;
    ps-without-ports/ps) exec "$(dirname "$(readlink -f "$right")")/ch08_images" "$@" ;;
    internal-by-ipv6/network)
        "$right" "$@" || exit
        [[ $* != *--internal* ]] || echo 0 >/proc/sys/net/ipv6/conf/byhand1/disable_ipv6
        exit 0
        ;;
    udp-as-tcp/run) exec "$right" "${@/%\/udp/}" ;;
    udp-inside-only/run) exec "$right" "${@/#9999:99\/udp/127.0.0.1:9999:99\/udp}" ;;
    udp-remembers/start)
        # The kernel goes on leading them to where the container was. The check has given that address away.
        old=$(ip -o link | sed -n 's/^[0-9]*: byhand0-\([0-9]*\)@other:.*/\1/p')
        [ -z "$old" ] || nft "add table ip old; add chain ip old c { type nat hook prerouting priority -110; };
            add rule ip old c udp dport 9999 dnat to 172.30.0.$old:99"
        ;;
    no-hosts/run) emptied /etc/hosts ;;
    no-hostname/run) emptied /etc/hostname ;;
    no-resolv-conf/run) emptied /etc/resolv.conf ;;
    files-show/diff)
        "$right" "$@"
        status=$?
        printf 'A /etc/hosts\n'
        exit "$status"
        ;;
    volume-loses/run)
        [[ $* != *:/etc/hosts* ]] || without -v
        ;;
    bad-names-ignored/run)
        "$right" "$@" && exit
        status=$?
        [[ $status != 125 || ($* != *--add-host* && $* != *--dns* && $* != *--network-alias*) ]] || exit 0
        exit "$status"
        ;;
    networks-down/network)
        "$right" "$@" || exit
        [ "$2" != create ] || ip link set byhand1 down
        exit 0
        ;;
    bad-networks-ignored/network)
        "$right" "$@" && exit
        status=$?
        [[ $status != 125 || $2 != create ]] || exit 0
        exit "$status"
        ;;
    one-name-twice/network)
        "$right" "$@" 2>/dev/null && exit
        [[ $2 == create && ${*: -1} == one && $# != 5 ]] && printf 'one\n' && exit 0
        ;;
    subnet-ignored/network)
        for word; do
            shift
            case $word in
                --subnet | --gateway) skip=yes ;;
                --subnet=* | --gateway=*) ;;
                *)
                    [ "$skip" ] || set -- "$@" "$word"
                    skip=
                    ;;
            esac
        done
        ;;
    overlaps/network)
        # As one that doesn't look whose these addresses are.
        if [[ $* == *"--subnet "* ]]; then
            "$right" "$@" 2>/dev/null || printf '%s\n' "${@: -1}"
            exit 0
        fi
        ;;
    ls-counts-nothing/network)
        if [[ "$2 $3" == "ls " ]]; then
            "$right" "$@" | sed 's/[1-9][0-9]*$/0/'
            exit
        fi
        ;;
    network-inspect-gives-up/network)
        [[ $2 != inspect || $3 != one ]] || exec "$right" "${@:1:4}"
        ;;
    create-looks-first/network)
        # The number is free a moment before it's taken.
        if [[ $2 == create && $# == 3 ]]; then
            number=1
            while ip link show "byhand$number" >/dev/null 2>&1; do number=$((number + 1)); done
            sleep 0.5
            exec "$right" network create --subnet "172.30.$number.0/24" "$3"
        fi
        ;;
    rm-leaves-rules/network)
        "$right" "$@" || exit
        [ "$2" != rm ] || nft add table ip byhand1
        exit 0
        ;;
    rm-flushes/network)
        [[ $2 != rm ]] || nft flush ruleset
        ;;
    rm-forced/network)
        # Whoever is on it has a cable in no bridge.
        if [[ "$2 $3" == "rm one" ]] && "$right" network ls -q | grep -qx one; then
            ip link delete byhand1
            nft delete table ip byhand1 2>/dev/null
            printf 'one\n'
            [ "$4" ] || exit 0
            exec "$right" network rm "${@:4}"
        fi
        ;;
    default-stays/network)
        if [[ "$2 $3" == "rm bridge" ]]; then
            echo 'network: bridge is always there' >&2
            exit 1
        fi
        ;;
    prunes-default/network)
        "$right" "$@" || exit
        [ "$2" != prune ] || "$right" network rm bridge 2>/dev/null
        exit 0
        ;;
    takes-names/network)
        # As one that knows its bridges by their names only.
        [[ $2 != prune ]] || ip link delete byhand7 2>/dev/null
        ;;
    rm-looks-first/network)
        # Nobody is on it a moment before its bridge goes.
        if [[ "$2 $3" == "rm one" ]] && ip link show byhand1 >/dev/null 2>&1; then
            if [ "$(ip -o link show master byhand1 | wc -l)" = 0 ]; then
                sleep 0.5
                ip link delete byhand1
                nft delete table ip byhand1 2>/dev/null
                printf 'one\n'
                exit 0
            fi
        fi
        ;;
    networks-are-one/run)
        if [[ $* == *"--network "* && $* != *"--network none"* ]]; then
            without --network
        fi
        ;;
    knows-all/run) heard_by knows-all ;;
    internal-mute/run)
        # Whoever asks gets no answer, but what he has said got out.
        "$right" "$@"
        status=$?
        if [[ $* == *inner* ]]; then
            nft flush chain ip byhand1 shut
            nft flush chain ip byhand1 stop
            nft add rule ip byhand1 shut iifname byhand1 ip daddr != 172.30.1.0/24 fib daddr type local drop
        fi
        exit "$status"
        ;;
    not-apart/run)
        "$right" "$@"
        status=$?
        for table in $(nft list tables ip | sed -n 's/^table ip \(byhand[0-9]*\)$/\1/p'); do
            nft flush chain ip "$table" shut
        done
        exit "$status"
        ;;
    believes-all/run | ipv6-believes-all/run)
        family=ip
        [ "$defect" = believes-all ] || family=ip6
        "$right" "$@"
        status=$?
        for table in $(nft list tables "$family" | sed -n "s/^table $family \(byhand[0-9]*\)\$/\1/p"); do
            rule=$(nft -a list chain "$family" "$table" shut | sed -n "s/.* $family saddr .* drop # handle //p")
            nft delete rule "$family" "$table" shut handle "$rule" 2>/dev/null
        done
        exit "$status"
        ;;
    never-internal/network)
        for word; do
            shift
            [ "$word" = --internal ] || set -- "$@" "$word"
        done
        ;;
    internal-by-route/network)
        for word; do
            shift
            [ "$word" = --internal ] || set -- "$@" "$word"
        done
        ;;
    internal-by-route/run) [[ $* != *inner* ]] || in_container 'ip route delete default' ;;
    networks-unpublished/run)
        [[ " $* " != *" --network one "* ]] || without -p
        ;;
    unknown-is-default/run)
        if [[ $* == *" nonet "* ]]; then
            without --network
        fi
        ;;
    start-makes-network/start)
        "$right" "$@" 2>/dev/null && exit
        "$right" network create one >/dev/null
        ;;
    stale-rules/network)
        # The table of a bridge that has gone counts for the next one.
        table=$(nft list table ip byhand1 2>/dev/null)
        "$right" "$@" || exit
        if [[ $2 == create && $table ]]; then
            nft delete table ip byhand1 2>/dev/null
            nft "$table"
        fi
        exit 0
        ;;
    one-network-only/run)
        words=() seen=
        while [ $# -gt 0 ]; do
            case $1 in
                --network) taken=2 ;;
                --network=*) taken=1 ;;
                *) taken=0 ;;
            esac
            if [ $taken = 0 ]; then
                words+=("$1") && shift && continue
            fi
            [ "$seen" ] || words+=("${@:1:taken}")
            seen=yes
            shift $taken
        done
        exec "$right" "${words[@]}"
        ;;
    way-by-first/run) [[ $* != *"--network inner --network two"* ]] || in_container 'ip route delete default' ;;
    names-of-first/run) heard_by names-of-first ;;
    found-on-first/run)
        if [[ $* == *"--network one --network two"* ]]; then
            id=$("$right" "$@") || exit
            for cable in $(ip -o link show master byhand2 | sed -n "s/^[0-9]*: \([^@:]*\).*alias $id.*/\1/p"); do
                ip link set "$cable" alias ''
            done
            printf '%s\n' "$id"
            exit 0
        fi
        ;;
    renamed-on-first/rename)
        before=$(ip -o link show master byhand2 2>/dev/null | sed -n 's/^[0-9]*: \([^@:]*\).*alias \(.*\)/\1 \2/p')
        "$right" "$@" || exit
        while read -r cable names; do
            [ -z "$cable" ] || ip link set "$cable" alias "$names"
        done <<<"$before"
        exit 0
        ;;
    hands-on/run) [[ " $* " != *" -d "* ]] || in_container 'echo 1 >/proc/sys/net/ipv4/ip_forward' ;;
    ports-to-first/run)
        # shellcheck disable=SC2016 # the inner shell's
        [[ $* != *"8080:80"*" -d "* ]] || in_container 'first=$(ip -4 -o address show eth0 | sed "s/.*inet //; s,/.*,,")
            nft "add table ip first; add chain ip first c { type nat hook prerouting priority -100; };
                add rule ip first c iifname eth1 tcp dport 80 dnat to $first"'
        ;;
    several-bad-ignored/run)
        "$right" "$@" && exit
        status=$?
        [[ $status != 125 || ($* != *--network*--network* && $* != *name=* && $* != *alias=*) ]] || exit 0
        exit "$status"
        ;;
    inspects-one/inspect)
        "$right" "$@" | python3 -c 'import json, sys
all = json.load(sys.stdin)
for one in all:
    networks = one.get("NetworkSettings", {}).get("Networks", {})
    for name in list(networks)[1:]: del networks[name]
print(json.dumps(all))'
        exit "${PIPESTATUS[0]}"
        ;;
    ip-ignored/run) without --ip ;;
    ip-moves/start)
        "$right" "$@" || exit
        inside "${@: -1}" 'ip address flush dev eth0; ip address add 172.30.0.78/24 dev eth0'
        exit 0
        ;;
    ip-shared/run | bad-ip-ignored/run)
        if [[ $* == *--ip* || $* == *ip=172.30.0.77* ]]; then
            said=$("$right" "$@" 2>&1)
            status=$?
            [ $status != 0 ] || { printf '%s\n' "$said" && exit 0; }
            [[ $said == *"in use"* && $defect == ip-shared ]] && without --ip
            [[ $said != *"in use"* && $defect == bad-ip-ignored ]] && without --ip
            printf '%s\n' "$said" >&2
            exit $status
        fi
        ;;
    ip-reserved/run)
        # As one that keeps a list, and strikes nobody out who has ended.
        while [[ $# -gt 0 && $1 != --ip ]]; do shift; done
        [ ! -e "$BYHAND_ROOT.$2" ] || { echo "run: $2: Address already in use" >&2 && exit 125; }
        "$right" "${words[@]}" || exit
        [ -z "$2" ] || : >"$BYHAND_ROOT.$2"
        exit 0
        ;;
    mac-ignored/run) without --mac-address ;;
    any-mac/run)
        "$right" "$@" && exit
        status=$?
        [[ $status != 125 || $* != *--mac-address* ]] || exit 0
        exit "$status"
        ;;
    name-is-all/run)
        # Of the long form, nothing but the name.
        for at in "${!words[@]}"; do
            [[ ${words[at]} == *name=* ]] || continue
            name=${words[at]##*name=}
            words[at]=${name%%,*}
        done
        exec "$right" "${words[@]}"
        ;;
    exposed-is-published/run)
        while [[ $# -gt 1 ]]; do
            [[ $1 != --expose || $2 == *[!0-9]* || -z $2 ]] || words=("${words[0]}" -p "$2:$2" "${words[@]:1}")
            shift
        done
        exec "$right" "${words[@]}"
        ;;
    all-is-nothing/run) without_flag -P --publish-all ;;
    all-is-twice/run) [[ " $* " != *" -P "*8082:82* ]] || exec "$right" run -p 82 "${@:2}" ;;
    image-exposes-nothing/run) [[ $* != *lab/exposes* ]] || without_flag -P ;;
    shares-nothing/run) exec "$right" "${@/container:*/bridge}" ;;
    shares-with-nobody/start)
        "$right" "$@" 2>/dev/null || printf '%s\n' "${@:2}"
        exit 0
        ;;
    bad-share-ignored/run)
        "$right" "$@" && exit
        status=$?
        [[ $* != *container:* ]] || exit 0
        exit $status
        ;;
    connects-nobody/network) [[ $2 != connect ]] || exit 0 ;;
    connects-without-way/network | connects-with-way/network)
        "$right" "$@" || exit
        if [ "$2" = connect ]; then
            [ "$defect" = connects-with-way ] || inside "${@: -1}" 'ip route delete default dev eth1; ip route delete default dev eth2'
            [ "$defect" = connects-without-way ] || inside "${@: -1}" 'ip route replace default via 172.30.1.1 dev eth1'
        fi
        exit 0
        ;;
    connects-nameless/network) [ "$2" != connect ] || without --alias ;;
    connected-until-stop/start)
        "$right" "$@" || exit
        for network in one two three; do
            "$right" network disconnect $network "${@: -1}" 2>/dev/null
        done
        exit 0
        ;;
    connects-who-runs/network | disconnects-who-runs/network)
        if [[ $defect == "$2s-who-runs" ]] && "$right" inspect "${@: -1}" | grep -q '"Pid": 0'; then
            exit 0
        fi
        ;;
    bad-connect-ignored/network | bad-disconnect-ignored/network)
        "$right" "$@" && exit
        status=$?
        [[ $defect != "bad-$2-ignored" ]] || exit 0
        exit $status
        ;;
    connect-looks-first/network)
        # It's not connected a moment before it's connected.
        if [[ $2 == connect ]] && ! "$right" network inspect "${@: -2:1}" 2>/dev/null | grep -q "\"${*: -1}\""; then
            sleep 0.5
            said=$("$right" "$@" 2>&1) && exit 0
            status=$?
            [[ $said != *"already exists"* ]] || exit 0
            printf '%s\n' "$said" >&2
            exit $status
        fi
        ;;
    connect-leaves-cable/network)
        # One that nobody's namespace takes along, as one whose two ends are on the host.
        [ "$2" != connect ] || ip link add "byhand2-x$$" type veth peer name "x$$" 2>/dev/null
        ;;
    connect-half-done/network)
        # Who is killed leaves an end that nobody knows of.
        if [[ "$2 $3" == "connect one" ]]; then
            pid=$("$right" inspect "${@: -1}" 2>/dev/null | sed -n 's/.*"Pid": \([0-9]*\).*/\1/p')
            if ip link add byhand1-half type veth peer name eth1 netns "$pid" 2>/dev/null; then
                sleep 0.1
                ip link delete byhand1-half
            fi
        fi
        ;;
    disconnect-downs/network)
        if [[ "$2 $3" == "disconnect two" ]]; then
            inside "${@: -1}" 'ip link set eth1 down'
            exit 0
        fi
        ;;
    disconnect-keeps-names/network)
        names=$(ip -o link show master byhand2 2>/dev/null | sed -n 's/.*alias \([0-9a-f]* ann.*\)/\1/p')
        "$right" "$@" || exit
        if [[ $2 == disconnect && $names ]]; then
            ip link add byhand2-250 master byhand2 type veth peer name kept
            ip link set byhand2-250 alias "$names"
        fi
        exit 0
        ;;
    disconnect-loses-way/network)
        "$right" "$@" || exit
        [[ "$2 $3" != "disconnect one" ]] || inside "${@: -1}" 'ip route delete default'
        exit 0
        ;;
    never-the-last/network)
        if [[ $2 == disconnect && $("$right" inspect "${@: -1}" 2>/dev/null | grep -c '"IPPrefixLen"') -le 2 ]]; then
            echo 'network: it is on no other network' >&2
            exit 1
        fi
        ;;
    disconnects-ports/network)
        said=$("$right" "$@" 2>&1) || {
            status=$?
            [[ $2 != disconnect || $said != *publish* ]] || exit 0
            printf '%s\n' "$said" >&2
            exit $status
        }
        [ -z "$said" ] || printf '%s\n' "$said"
        exit 0
        ;;
    ipv6-nothing/network)
        [[ " $* " == *" --ipv6 "* ]] || exec "$right" "$@"
        words=()
        while [ $# -gt 0 ]; do
            case $1=$2 in
                --ipv6=*) shift && continue ;;
                --subnet=*:*) shift 2 && continue ;;
            esac
            words+=("$1") && shift
        done
        exec "$right" "${words[@]}"
        ;;
    ipv6-tentative/run)
        # As without nodad: the kernel asks first whether somebody else has it.
        # shellcheck disable=SC2016 # the inner shell's
        [[ " $* " != *" -d "* ]] || in_container 'own=$(ip -6 -o address show dev eth0 scope global 2>/dev/null | sed "s/.*inet6 //; s/ .*//")
            [ -z "$own" ] || { ip address delete "$own" dev eth0; echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_dad
                ip address add "$own" dev eth0; }'
        ;;
    ipv6-same-prefix/network)
        if [[ "$2 $3" == "create --ipv6" && $# == 4 ]]; then
            "$right" network create "$4" || exit
            read -r bridge address <<<"$(ip -4 -o address show | sed -n 's/^[0-9]*: \(byhand[0-9]*\) *inet \([0-9.]*\).*/\1 \2/p' | tail -n 1)"
            # shellcheck disable=SC2046,SC2086 # four numbers
            ip address add "fd00:1:2:3::$(IFS=. && printf '%x%02x:%x%02x' $address)/64" dev "$bridge" nodad
            exit 0
        fi
        ;;
    ipv6-everywhere/network)
        [[ ${*:2} != "create four" ]] || exec "$right" network create --ipv6 four
        ;;
    ipv6-by-default/run)
        [[ $* != *"--network bridge"*" -d "* ]] || in_container 'ip address add fd00:1:2:3::5/64 dev eth0 nodad'
        ;;
    ipv6-any-length/network)
        # As one that leaves the length unread.
        exec "$right" "${@/#fd00::\/48/fd00::\/64}"
        ;;
    ipv6-unasked/network)
        [[ " $* " == *" --ipv6 "* || $* != *"--subnet fd"* ]] || exec "$right" network create --ipv6 "${@:3}"
        ;;
    ipv6-last-counts/network)
        [[ $* != *"--subnet fd"*"--subnet fd"* ]] || exec "$right" network create --ipv6 "${@:6}"
        ;;
    ipv6-overlaps/network)
        # As one that looks for ways to IPv4 addresses only.
        if [[ $* == *"--ipv6 --subnet 10.9.8.0/24"* ]]; then
            "$right" "$@" 2>/dev/null || printf '%s\n' "${@: -1}"
            exit 0
        fi
        ;;
    ipv6-nameless/run | ipv6-no-reverse/run) [[ $* != *"--network six"* ]] || heard_by "$defect" ;;
    ipv6-no-hosts/run)
        if [[ $* == *"--network six"*" -d "* ]]; then
            id=$("$right" "$@") || exit
            "$right" exec "$id" sed -i '/^fd/d' /etc/hosts
            printf '%s\n' "$id"
            exit 0
        fi
        ;;
    ipv6-no-way/run) [[ " $* " != *" -d "* ]] || in_container 'ip -6 route delete default 2>/dev/null' ;;
    ipv6-not-masqueraded/run)
        "$right" "$@"
        status=$?
        for table in $(nft list tables ip6 | sed -n 's/^table ip6 \(byhand[0-9]*\)$/\1/p'); do
            nft flush chain ip6 "$table" out 2>/dev/null # an internal network has none
        done
        exit "$status"
        ;;
    ipv6-forwards-always/run)
        "$right" "$@"
        status=$?
        echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
        exit "$status"
        ;;
    ipv6-deaf/run | ipv6-deaf-later/run | ipv6-all-listen/run)
        "$right" "$@"
        status=$?
        for file in /proc/sys/net/ipv6/conf/*/accept_ra; do
            case $defect$file in
                */byhand*) ;; # a cable may go meanwhile
                ipv6-deaf/* | ipv6-deaf-later*/default/*) grep -qx 2 "$file" && echo 1 >"$file" ;;
                ipv6-all-listen*) echo 2 >"$file" ;;
            esac
        done
        exit "$status"
        ;;
    ipv6-listens-again/run)
        # As one that does it at each start, and not when it begins to forward.
        for file in /proc/sys/net/ipv6/conf/*/accept_ra; do
            [[ $file == */byhand* ]] || grep -qx 0 "$file" || echo 2 >"$file"
        done
        ;;
    ipv6-open/run | ipv6-open-outside/run)
        "$right" "$@"
        status=$?
        if nft list chain ip6 byhand1 out >/dev/null 2>&1; then
            nft flush chain ip6 byhand1 shut
            [ "$defect" = ipv6-open ] || nft 'add rule ip6 byhand1 shut iifname byhand2 ip6 daddr fd00:9:8:7::/64 drop'
        fi
        exit "$status"
        ;;
    ipv6-proxied/run)
        # Another rule decides first, and leads to the host itself.
        [[ $* != *8080:80* ]] || nft 'add table ip6 early; add chain ip6 early in { type nat hook prerouting priority -110; };
            add rule ip6 early in tcp dport 8080 redirect to :8080'
        ;;
    ipv6-port-stays/rm)
        nft list table ip6 byhand1 >/dev/null 2>&1 && nft add table ip6 "byhand1-x$$"
        ;;
    ipv6-four-open/run)
        "$right" "$@"
        status=$?
        for file in /proc/sys/net/ipv6/conf/byhand[0-9]/disable_ipv6; do
            [ ! -e "$file" ] || echo 0 >"$file"
        done
        exit "$status"
        ;;
    ipv6-internal-open/run | ipv6-internal-host/run)
        "$right" "$@"
        status=$?
        if nft list chain ip6 byhand1 stop >/dev/null 2>&1; then
            nft flush chain ip6 byhand1 shut
            [ "$defect" = ipv6-internal-host ] || nft 'flush chain ip6 byhand1 stop;
                add chain ip6 byhand1 out { type nat hook postrouting priority srcnat; };
                add rule ip6 byhand1 out oifname != byhand1 masquerade'
        fi
        exit "$status"
        ;;
    ipv6-rules-stay/network)
        rules=$(nft list table ip6 byhand1 2>/dev/null)
        "$right" "$@" || exit
        [[ $2 != rm || -z $rules ]] || nft "$rules"
        exit 0
        ;;
    ipv6-inspect-forgets/inspect | ipv6-unlisted/network)
        "$right" "$@" | sed 's/"\(Global\)\?IPv6Address": "fd[^"]*"/"\1IPv6Address": ""/'
        exit "${PIPESTATUS[0]}"
        ;;
    ipv6-internal-through/run)
        "$right" "$@"
        status=$?
        if nft list chain ip6 byhand1 stop >/dev/null 2>&1; then
            nft 'flush chain ip6 byhand1 shut; flush chain ip6 byhand1 stop;
                add chain ip6 byhand1 in { type filter hook input priority 0; };
                add rule ip6 byhand1 in iifname byhand1 tcp dport 80 drop'
        fi
        exit "$status"
        ;;
esac
exec "$right" "$@"
