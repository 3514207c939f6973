//! What a bridge adds to a container's start and end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bench::contender::{self, in_path, podman};
use crate::bench::measure::{self, go_on, milliseconds};
use crate::bench::place::Place;
use crate::bench::scale::Figure;
use crate::bench::statistics::median;
use crate::chapter::Chapter;

/// What ours may add, in milliseconds.
const AIM: f64 = 3.0;

/// Between two runs, in which the kernel clears up after the one before.
const PAUSE: Duration = Duration::from_millis(30);

const NETWORKS: [&str; 2] = ["none", "bridge"];

pub(super) fn measured(
    place: &Place,
    program: &Path,
    runs: usize,
    missing: &mut Vec<String>,
) -> Result<Figure> {
    let one_of_ours =
        NETWORKS.map(|name| contender::chapter(Chapter::Network, name, program, place, &["--network", name]));
    let ours = added(runs, |network| measure::time(&mut one_of_ours[network].command(0)))?;
    let floors = match in_path("podman") {
        None => Err("podman's bridge: podman not found in PATH".to_string()),
        Some(program) => {
            of_podman(place, program, runs).map_err(|error| format!("podman's bridge: {error:#}"))
        }
    };
    go_on()?;
    let floors = floors.map(|added| format!("podman {}", told(added)));
    Ok(Figure {
        what: "what a bridge adds to a run".to_string(),
        ours: told(ours),
        floors: floors.unwrap_or_else(|reason| {
            missing.push(reason);
            String::new()
        }),
        target: format!("at most {AIM:.0} ms"),
        reached: Some(ours[1] - ours[0] <= AIM),
    })
}

fn told([none, bridge]: [f64; 2]) -> String {
    format!("{:.1} ms: {bridge:.1} and not {none:.1}", bridge - none)
}

/// The medians without a network and with one. They take turns. The first time of each makes the bridge, and whatever
/// else stays, and is not counted.
fn added(runs: usize, mut time: impl FnMut(usize) -> Result<f64>) -> Result<[f64; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..=runs {
        for (network, times) in times.iter_mut().enumerate() {
            sleep(PAUSE);
            let took = time(network)?;
            if number > 0 {
                times.push(took);
            }
        }
    }
    Ok(times.map(|times| median(&times)))
}

/// Podman's runs are all in one set of namespaces, so that its bridge stays from one to the next, as ours does.
fn of_podman(place: &Place, program: PathBuf, runs: usize) -> Result<[f64; 2]> {
    let mut podman = Podman::start(place, program)?;
    added(runs.min(30), |network| podman.time(NETWORKS[network]))
}

/// A shell that starts a container on each network that it is told, and says the status; and what Podman has said.
struct Podman {
    shell: Child,
    tell: ChildStdin,
    hear: BufReader<ChildStdout>,
    said: PathBuf,
}

impl Podman {
    fn start(place: &Place, program: PathBuf) -> Result<Podman> {
        const SCRIPT: &str = "ip link set lo up; while read -r network; do \
             \"$@\" --network=\"$network\" --rootfs \"$IMAGE\" /bin/true </dev/null >\"$SAID\" 2>&1; \
             echo $?; done";
        // Netavark and not the older CNI plugins, which some take if they're there; and limits that root has anywhere.
        const SETTINGS: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:4096\", \"nproc=4096:4096\"]\n\
             [network]\nnetwork_backend = \"netavark\"\n";
        let (settings, said) = (place.path("containers.conf"), place.path("podman-said"));
        fs::write(&settings, SETTINGS).context("writing containers.conf")?;
        // `apart` ends with a shell that becomes what comes after it: here, another that goes on reading.
        let words = podman(program, "-mnpf", &place.path("podman-network"));
        let at = contender::apart("-mnpf").len();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..at]).args(["sh", "-c", SCRIPT, "sh"]).args(&words[at..]);
        command.args(["run", "--rm", "--cgroups=disabled"]);
        command.env("CONTAINERS_CONF", settings).env("IMAGE", place.image()).env("SAID", &said);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().context("running unshare")?;
        let tell = shell.stdin.take().context("no stdin")?;
        let hear = BufReader::new(shell.stdout.take().context("no stdout")?);
        Ok(Podman { shell, tell, hear, said })
    }

    /// How long a run takes, in milliseconds.
    fn time(&mut self, network: &str) -> Result<f64> {
        go_on()?;
        let began = Instant::now();
        writeln!(self.tell, "{network}").context("telling the shell")?;
        let mut status = String::new();
        self.hear.read_line(&mut status).context("hearing from the shell")?;
        let took = milliseconds(began.elapsed());
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        let last = said.lines().last().unwrap_or("it said nothing");
        ensure!(status == "0\n", "--network={network} could not run: {last}");
        Ok(took)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.shell.kill(); // and with it, all that is in its namespaces
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_of_each_is_not_counted() {
        let mut times = [[90.0, 1.0, 3.0].into_iter(), [900.0, 5.0, 7.0].into_iter()];
        assert_eq!(added(2, |network| times[network].next().context("too many")).unwrap(), [2.0, 6.0]);
        assert_eq!(told([9.0, 11.5]), "2.5 ms: 11.5 and not 9.0");
    }
}
