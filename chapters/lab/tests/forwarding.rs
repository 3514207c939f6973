//! `lab doctor` on machines whose own rules drop what containers send: each is a network namespace, with no way out of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as tests do")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// As Docker and ufw leave it.
const DROPS: &str = "nft 'add table ip filter
    add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'";

/// What a shell prints on such a machine, on which there is nothing but a loopback device. `$0` is the lab.
fn on_a_machine(script: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-ec", &format!("ip link set lo up\n{script}"), LAB]);
    let own = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        Ok(mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?)
    };
    // SAFETY: two system calls, with constants.
    unsafe { shell.pre_exec(own) };
    let done = shell.output().unwrap();
    assert!(done.status.success(), "{script}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// The doctor's line on it, and what there is to type.
fn told(arrange: &str) -> (String, String) {
    // The doctor's status is not success: there is no aufs, perhaps.
    let said = on_a_machine(&format!("{arrange}\n\"$0\" doctor || true"));
    let mut lines = said.lines().skip_while(|line| !line.contains("] forwarding "));
    let line = lines.next().unwrap_or_else(|| panic!("no line on it: {said}"));
    let advice = lines.next().and_then(|next| next.trim_start().strip_prefix("-> ")).unwrap_or_default();
    (line.to_string(), advice.to_string())
}

fn is_fine(arrange: &str) {
    let (line, advice) = told(arrange);
    assert!(
        line.starts_with("[ ok ]") && line.contains("nor what comes") && advice.is_empty(),
        "{arrange}: {line} {advice}"
    );
}

/// Something is dropped there, and after what the doctor says to type nothing is. Returns what that was.
fn is_cured(arrange: &str) -> String {
    let (line, advice) = told(arrange);
    let is_seen =
        line.starts_with("[note]") && line.contains("what containers send, and what comes for their ports");
    assert!(is_seen, "{arrange}: {line} {advice}");
    is_fine(&format!("{arrange}\n{advice}"));
    advice
}

fn can_try() -> bool {
    if !geteuid().is_root() {
        println!("skipped: only root can make networks");
        return false;
    }
    let has =
        |program: &str| Command::new(program).arg("-V").output().is_ok_and(|done| done.status.success());
    if !has("ip") || !has("nft") {
        println!("skipped: there is no ip, or no nft");
        return false;
    }
    true
}

/// Whether there is an iptables, and it shows what nft has made.
fn has_iptables() -> bool {
    let version = Command::new("iptables").arg("-V").output();
    let has = version.is_ok_and(|done| String::from_utf8_lossy(&done.stdout).contains("nf_tables"));
    if !has {
        println!("skipped: no iptables that is made of nft");
    }
    has
}

#[test]
fn without_rules_all_is_handed_on() {
    if !can_try() {
        return;
    }
    is_fine("");
    let (line, _) = told("echo 0 > /proc/sys/net/ipv4/ip_forward");
    assert!(line.contains("ip_forward is 0"), "{line}");
    let (line, _) = told("echo 1 > /proc/sys/net/ipv4/ip_forward");
    assert!(!line.contains("ip_forward"), "{line}");
}

#[test]
fn a_policy_is_cured_by_what_the_doctor_says() {
    if !can_try() {
        return;
    }
    is_cured(DROPS);
    let other = "nft 'add table inet mine
        add chain inet mine f { type filter hook forward priority 10; policy drop; }'";
    let advice = is_cured(other);
    assert!(advice.contains("insert rule inet mine f "), "{advice}");
    is_cured(&format!("{DROPS}\n{other}"));
    // Without iptables, nft will do.
    let without = |program| format!("mount --bind /dev/null \"$(command -v {program})\"");
    let advice = is_cured(&format!("{DROPS}\n! command -v iptables > /dev/null || {}", without("iptables")));
    assert!(advice.starts_with("nft 'insert rule ip filter FORWARD "), "{advice}");
    // Without nft there is no published port to try.
    let (line, _) = told(&without("nft"));
    assert!(line.starts_with("[ ok ]") && line.contains("was not tried: there is no nft"), "{line}");
    let (line, _) = told(&format!("{DROPS}\n{}", without("nft")));
    assert!(line.starts_with("[note]") && line.ends_with("drop what containers send"), "{line}");
}

#[test]
fn docker_has_a_chain_for_it_and_ufw_a_command() {
    if !can_try() || !has_iptables() {
        return;
    }
    let docker = "iptables -N DOCKER-USER; iptables -N DOCKER-FORWARD; iptables -A FORWARD -j DOCKER-USER
        iptables -A FORWARD -j DOCKER-FORWARD; iptables -A DOCKER-FORWARD -i docker0 -j ACCEPT";
    let advice = is_cured(&format!("iptables -P FORWARD DROP\n{docker}"));
    assert!(advice.contains("DOCKER-USER"), "{advice}");
    let ufw =
        "iptables -N ufw-user-forward; iptables -A FORWARD -j ufw-user-forward; iptables -P FORWARD DROP";
    // ufw itself is not here, perhaps: these are the rules that it makes.
    let stand_in =
        r#"ufw() { w=-o; [ "$3" = in ] && w=-i; iptables -A ufw-user-forward $w "$5" -j ACCEPT; }"#;
    let advice = is_cured(&format!("{stand_in}\n{ufw}"));
    assert!(advice.starts_with("ufw route allow in on byhand+"), "{advice}");
    let advice =
        is_cured(&format!("{ufw}\n{docker}\niptables -D FORWARD 1; iptables -A FORWARD -j ufw-user-forward"));
    assert!(advice.contains("DOCKER-USER"), "{advice}");
    // A rule in the place of a policy.
    let advice = is_cured("iptables -A FORWARD -i lo -j ACCEPT; iptables -A FORWARD -j REJECT");
    assert!(advice.starts_with("iptables -I FORWARD "), "{advice}");
}

#[test]
fn a_chain_that_rejects_without_a_policy_is_looked_for() {
    if !can_try() {
        return;
    }
    let rejects = |table: &str| {
        format!(
            "nft 'add table inet {table}; add chain inet {table} f {{ type filter hook forward priority 10; }}
            add rule inet {table} f ct state established accept; add rule inet {table} f ct status dnat accept
            add rule inet {table} f reject'"
        )
    };
    for (table, word) in [("firewalld", "firewall-cmd --zone=trusted"), ("mine", "find the rule")] {
        let (line, advice) = told(&rejects(table));
        // A published port is another address's, and that goes through: as with firewalld.
        assert!(line.starts_with("[note]") && line.ends_with("drop what containers send"), "{line}");
        assert!(advice.contains(word), "{advice}");
    }
}

/// One way each.
#[test]
fn a_rule_for_one_direction_leaves_the_other() {
    if !can_try() {
        return;
    }
    let with = |rules: &str| {
        told(&format!("{DROPS}\nnft 'add rule ip filter FORWARD ct state established accept\n{rules}'")).0
    };
    let line = with("add rule ip filter FORWARD iifname \"byhand*\" accept");
    assert!(line.starts_with("[note]") && line.ends_with("drop what comes for their ports"), "{line}");
    let line = with("add rule ip filter FORWARD ct status dnat accept");
    assert!(line.starts_with("[note]") && line.ends_with("drop what containers send"), "{line}");
    // Questions get out, and no answer comes back.
    let (line, _) = told(&format!("{DROPS}\nnft 'add rule ip filter FORWARD iifname \"byhand*\" accept'"));
    assert!(line.starts_with("[note]") && line.contains("what containers send"), "{line}");
}

#[test]
fn nothing_of_the_try_stays() {
    if !can_try() {
        return;
    }
    let all = "{ ip -o link; ip -o address; ip route show table all; nft list ruleset
        cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/all/forwarding; }";
    let said = on_a_machine(&format!("{DROPS}\n{all}\n\"$0\" doctor > /dev/null || true\necho ---\n{all}"));
    let (before, after) = said.split_once("---\n").unwrap();
    assert_eq!(before, after);
    // Nor if nobody can clean up. It's found by its cable, and then by its table.
    for sign in ["ip -o link | grep -q byhand-try", "nft list table ip byhand-try > /dev/null 2>&1"] {
        let said = on_a_machine(&format!(
            "{DROPS}\n{all}\n\"$0\" doctor > /dev/null & pid=$!
            until {sign}; do kill -0 $pid; sleep 0.02; done
            kill -9 $pid; wait $pid || true
            for i in $(seq 200); do ip -o link | grep -q -e -try || break; sleep 0.05; done\necho ---\n{all}"
        ));
        let (before, after) = said.split_once("---\n").unwrap();
        assert_eq!(before, after, "{sign}");
    }
}

#[test]
fn a_network_of_the_machine_s_own_is_left_alone() {
    if !can_try() {
        return;
    }
    let has = |networks: &[&str]| {
        let lines = networks.iter().map(|network| format!("ip address add {network} dev mine\n"));
        format!("ip link add mine type bridge; ip link set mine up\n{}", lines.collect::<String>())
    };
    // Two are free, and then one.
    let ours = ["172.30.255.9/24", "172.30.254.0/23", "192.168.255.77/25"];
    is_fine(&has(&ours));
    let (line, _) = told(&has(&[&ours[..], &["192.168.0.1/16", "10.255.255.1/24"]].concat()));
    assert!(line.starts_with("[note]") && line.contains("not tried"), "{line}");
}
