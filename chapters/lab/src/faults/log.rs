//! What `--log-level debug` tells, compared with what strace saw of the same run.

use anyhow::Result;

use super::scene::{Kind, Scene};
use crate::chapter::Chapter::{Aufs, Run};
use crate::checks::check::Check;
use crate::machine::aufs;
use crate::machine::mounts;
use crate::see;
use crate::trial::runtime::Lab;
use crate::trial::strace::traced;

pub(crate) const CHECKS: &[Check] = &[Check::new(
    "log-tells-the-truth",
    Run,
    "The debug log has every mount, umount2, pivot_root, clone, sethostname and write to a cgroup or a setting, in order.",
    tells_the_truth,
)
.without_container()];

fn tells_the_truth(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, Kind::Usual)?;
    let calls = "trace=mount,umount2,pivot_root,clone,sethostname,write";
    let mut rules = vec!["-y", "-e", calls];
    if lab.has(Aufs) && !aufs::on_this_kernel() {
        rules.extend(["-e", "inject=mount:retval=0:when=1"]); // as if it were mounted
    }
    let run = lab.run(["true"]).with(scene.options()).with(["--log-level", "debug"]);
    let (outcome, trace) = traced(lab, &rules, run)?;
    let cgroups: Vec<_> =
        mounts::table()?.into_iter().filter(|mount| mount.filesystem.starts_with("cgroup")).collect();
    let of_kernel = |path: &str| {
        let in_cgroup = cgroups.iter().any(|mount| path.starts_with(&format!("{}/", mount.point)));
        in_cgroup || path.starts_with("/proc/sys/")
    };
    let made: Vec<_> = trace.lines().filter_map(|line| from_strace(line, &of_kernel)).collect();
    let told: Vec<_> = outcome.error().lines().filter_map(from_log).collect();
    println!("{:?}: {} kernel steps, each told in the log", lab.chapter(), made.len());
    see::same(&outcome.line, "at least a clone, a mount and a hostname:", true, made.len() >= 3)?;
    see::same(&outcome.line, "in the log, what strace saw:", made, told)
}

/// `4711 mount("a", "b", "c", MS_BIND, NULL) = 0`, as far as both tell it.
fn from_strace(line: &str, of_kernel: &dyn Fn(&str) -> bool) -> Option<String> {
    let call = line.split_once(' ')?.1.trim_start();
    let (name, rest) = call.split_once('(')?;
    match name {
        // Other processes, such as a helper program's, get no new namespaces.
        "clone" => {
            let flags = rest.split_once("flags=")?.1.split([',', ')', ' ']).next()?;
            flags.contains("CLONE_NEW").then(|| format!("clone({})", sorted(flags)))
        }
        "write" => {
            let (path, text) = rest.split_once('<')?.1.split_once(">, ")?;
            of_kernel(path)
                .then(|| format!("write({path:?}, {})", text.split(", ").next().unwrap_or_default()))
        }
        _ => step(name, rest),
    }
}

/// `[DEBUG module] mount("a", "b", "c", MS_BIND, "")`
fn from_log(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("[DEBUG ")?.split_once("] ")?.1.split_once('(')?;
    match name {
        "clone" => Some(format!("clone({})", sorted(rest.trim_end_matches(')')))),
        "write" => Some(format!("write({rest}")),
        _ => step(name, rest),
    }
}

/// The parts of a call that both strace and the log write alike.
fn step(name: &str, rest: &str) -> Option<String> {
    let arguments: Vec<_> = rest.split(['(', ')']).next()?.split(", ").collect();
    match (name, arguments.as_slice()) {
        ("mount", [source, target, _, flags, ..]) => {
            Some(format!("mount({source}, {target}, {})", sorted(flags)))
        }
        ("umount2", [target, flags, ..]) => Some(format!("umount2({target}, {flags})")),
        ("pivot_root", [new, old, ..]) => Some(format!("pivot_root({new}, {old})")),
        ("sethostname", [name, ..]) => Some(format!("sethostname({name})")),
        _ => None,
    }
}

/// Flags in one order.
fn sorted(flags: &str) -> String {
    let mut flags: Vec<_> = flags.split('|').collect();
    flags.sort_unstable();
    flags.join("|")
}
