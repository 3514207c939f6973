//! How much goes through chapter 9's bridge and ports, as iperf3 sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::byhand::{ByHand, Host, SERVER, UPLINK};
use crate::bench::measure::{self, go_on};
use crate::bench::place::Place;
use crate::bench::scale::{Figure, ratio};
use crate::bench::statistics::median;

/// What ours is to reach, as a part of what goes through by hand.
const AIM: f64 = 0.95;

const PORT: u16 = 5201;

/// The server's address on our network.
const OURS: &str = "172.30.0.2";

/// Where from, and where to: by ours, and by hand.
type Ways<'a> = (&'static str, [Box<dyn Fn() -> Command + 'a>; 2], Option<f64>);

pub(super) fn measured(place: &Place, program: &Path, iperf: &Path, runs: usize) -> Result<Vec<Figure>> {
    let image = image(place, iperf)?;
    let host = Host::new()?;
    let mut ours = Ours { host: &host, program, state: place.state(), containers: Vec::new() };
    let port = format!("{PORT}:{PORT}");
    let image = image.to_str().context("the image's path")?;
    ours.start(&["--ip", OURS, "-p", &port, "--rootfs", image, "/bin/iperf3", "-s"])?;
    let client = ours.start(&["--rootfs", image, "/bin/sleep", "100000"])?;
    let by_hand = ByHand::new(PORT)?;
    let _server = Server::start(by_hand.server.command(iperf))?;

    let ours = &ours;
    let (here, there) = (&host, &by_hand.host);
    let ways: [Ways<'_>; 3] = [
        (
            "from one container to another",
            [
                Box::new(move || {
                    let mut exec = ours.command(&["exec", &client, "/bin/iperf3"]);
                    exec.args(["-c", OURS]);
                    exec
                }),
                Box::new(|| to(by_hand.client.command(iperf), SERVER)),
            ],
            Some(AIM),
        ),
        (
            "from outside, through a port",
            [
                Box::new(|| to(here.outside.command(iperf), UPLINK)),
                Box::new(|| to(there.outside.command(iperf), UPLINK)),
            ],
            Some(AIM),
        ),
        (
            "from the host to `localhost`, through a port; by hand straight to the server",
            [
                Box::new(|| to(here.inside.command(iperf), "127.0.0.1")),
                Box::new(|| to(there.inside.command(iperf), SERVER)),
            ],
            None,
        ),
    ];
    ways.into_iter().map(|way| compared(way, runs)).collect()
}

fn to(mut command: Command, server: &str) -> Command {
    command.args(["-c", server]);
    command
}

/// Ours and the one by hand take turns, so that what the machine does meanwhile happens to both.
fn compared((what, ways, aim): Ways<'_>, runs: usize) -> Result<Figure> {
    let seconds = if runs < 10 { "1" } else { "2" };
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..runs.min(5) {
        for (rates, way) in rates.iter_mut().zip(&ways) {
            rates.push(rate(way, seconds).with_context(|| format!("sending {what}"))?);
        }
    }
    let [ours, by_hand] = rates.map(|rates| median(&rates));
    let part = ratio(ours, by_hand);
    Ok(Figure {
        what: what.to_string(),
        ours: format!("{ours:.1} Gbit/s, {part:.2} of it"),
        floors: format!("by hand {by_hand:.1} Gbit/s"),
        target: aim.map_or(String::new(), |aim| format!("at least {aim:.2}")),
        reached: aim.map(|aim| part >= aim),
    })
}

/// In Gbit/s. A server that has only just started, or is not yet done with whoever came before, is asked again.
fn rate(way: &dyn Fn() -> Command, seconds: &str) -> Result<f64> {
    let mut last = anyhow!("nobody was asked");
    for _ in 0..20 {
        go_on()?;
        let mut command = way();
        command.args(["-p", &PORT.to_string(), "-t", seconds, "-J"]).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("running {command:?}"))?;
        match received(&output.stdout) {
            Ok(bits) => return Ok(bits / 1e9),
            Err(error) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
                last = error.context(format!("{command:?} ({}): {said}", output.status));
            }
        }
        sleep(Duration::from_millis(100));
    }
    Err(last)
}

/// What the server has received, in bits a second.
fn received(printed: &[u8]) -> Result<f64> {
    let told: Value = serde_json::from_slice(printed).context("reading what iperf3 prints")?;
    if let Some(error) = told["error"].as_str() {
        return Err(anyhow!("iperf3 says: {error}"));
    }
    told["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 tells no rate")
}

/// An image with iperf3 in it, and with the libraries that it's linked to.
fn image(place: &Place, iperf: &Path) -> Result<PathBuf> {
    let image = place.path("iperf3-image");
    measure::time(Command::new("cp").arg("-a").arg(place.image()).arg(&image))?;
    fs::create_dir_all(image.join("tmp"))?; // where it has its buffer
    let listed = Command::new("ldd").arg(iperf).output().context("running ldd")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let at_their_places = libraries.map(|path| (Path::new(path), image.join(path.trim_start_matches('/'))));
    for (from, to) in at_their_places.chain([(iperf, image.join("bin/iperf3"))]) {
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        fs::copy(from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    }
    Ok(image)
}

/// The server by hand.
struct Server(Child);

impl Server {
    fn start(mut command: Command) -> Result<Server> {
        let command =
            command.args(["-s", "-p", &PORT.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Server(command.spawn().context("running iperf3")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Our containers on a host. They go when this goes.
struct Ours<'a> {
    host: &'a Host,
    program: &'a Path,
    state: PathBuf,
    containers: Vec<String>,
}

impl Ours<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.host.inside.command(self.program);
        command.args(words).env("BYHAND_ROOT", &self.state);
        command
    }

    /// One that stays: its id.
    fn start(&mut self, words: &[&str]) -> Result<String> {
        let mut run = self.command(&["run", "-d"]);
        let output = run.args(words).output().with_context(|| format!("running {run:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{run:?} failed: {}", said.trim());
        let id = String::from_utf8_lossy(&output.stdout).trim_end().to_string();
        self.containers.push(id.clone());
        Ok(id)
    }
}

impl Drop for Ours<'_> {
    fn drop(&mut self) {
        for id in &self.containers {
            // If that fails, its directory can't be removed either, and that is told.
            let _ = self.command(&["rm", "-f", id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_what_was_received() {
        let told =
            br#"{"end": {"sum_sent": {"bits_per_second": 3}, "sum_received": {"bits_per_second": 2.5e9}}}"#;
        assert_eq!(received(told).unwrap(), 2.5e9);
        let busy = received(br#"{"end": {}, "error": "the server is busy"}"#).unwrap_err();
        assert_eq!(busy.to_string(), "iperf3 says: the server is busy");
        assert!(received(b"").is_err());
    }
}
