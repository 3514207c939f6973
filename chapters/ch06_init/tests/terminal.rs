//! `run -ti` at a real terminal: tmux has the window, and tells what somebody in front of it would see.
//!
//! The lab's checks see the bytes that arrive. Whether they make a screen that can be used is seen here, with programs
//! that draw all of it: vi, less and top, which have to draw anew when the window gets another size. tmux(1), script(1),
//! stty(1).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as tests do")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// What happens within this time happens. Only a failure takes so long.
const SOON: Duration = Duration::from_secs(20);

/// A window with a shell in it. Dropped, it is closed.
struct Window {
    /// tmux's socket, the state directory, and what the shell writes down.
    directory: TempDir,
}

impl Window {
    /// `None`, and the reason is printed, where there is no tmux.
    fn open(columns: u16, rows: u16) -> Option<Window> {
        let window = Window { directory: tempfile::tempdir().unwrap() };
        let directory = window.directory.path().to_str().unwrap();
        let run = env!("CARGO_BIN_EXE_ch06_init");
        let shell =
            format!("env -u ENV RUN={run} BYHAND_ROOT={directory}/state D={directory} PS1='caller> ' sh");
        let (columns, rows) = (columns.to_string(), rows.to_string());
        if Command::new("tmux").arg("-V").output().is_err() {
            println!("skipped: tmux is not installed: apt-get install tmux");
            return None;
        }
        window.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, &shell]);
        window.shows("caller>");
        Some(window)
    }

    /// Has tmux do something, on a server of our own, and returns what it says.
    fn tmux(&self, words: &[&str]) -> String {
        let socket = self.directory.path().join("tmux");
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(socket).args(["-f", "/dev/null"]).args(words).env("LC_ALL", "C.UTF-8");
        let output = tmux.env_remove("TMUX").output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// On an empty screen, so that nothing is seen that was there before.
    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-R"]);
        self.tmux(&["send-keys", "-l", "--", line]);
        self.presses("Enter");
    }

    /// A key by tmux's name.
    fn presses(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn resize(&self, columns: usize, rows: usize) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    fn lines(&self) -> Vec<String> {
        self.tmux(&["capture-pane", "-p"]).lines().map(|line| line.trim_end().to_string()).collect()
    }

    /// Waits until the screen is as it should be.
    fn looks(&self, what: &str, is_right: impl Fn(&[String]) -> bool) {
        let end = Instant::now() + SOON;
        while !is_right(&self.lines()) {
            assert!(Instant::now() < end, "{what}: the screen is\n{}", self.lines().join("\n"));
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for a line that is exactly this.
    fn shows(&self, line: &str) {
        self.looks(&format!("a line {line:?}"), |lines| lines.iter().any(|one| one == line));
    }

    /// Waits until this is the last thing on the screen, at its foot.
    fn shows_at_the_foot(&self, text: &str, rows: usize) {
        let there = |lines: &[String]| lines.get(rows - 1).is_some_and(|line| line.contains(text));
        self.looks(&format!("{text:?} in line {rows}"), there);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The terminal's modes, as the caller's shell has them: `stty -g`.
    fn modes(&self) -> String {
        self.types("stty -g > $D/modes; echo told $?");
        self.shows("told 0");
        fs::read_to_string(self.path("modes")).unwrap()
    }

    /// What the caller's shell runs at the moment.
    fn job(&self) -> Option<Pid> {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]).trim().to_string();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).ok()?;
        children.trim().parse().ok().map(Pid::from_raw)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // script(1), where a test has failed in it, does not mind that its window is closed.
        if let Some(job) = thread::panicking().then(|| self.job()).flatten() {
            let _ = kill(job, Signal::SIGKILL);
        }
        // Closes every window of this server, which is ours alone.
        let socket = self.directory.path().join("tmux");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}

/// A day's work in a shell of the container, which `command` starts; the caller's terminal is as before then.
fn behaves_as_a_login(command: &str) {
    let Some(window) = Window::open(80, 24) else { return };
    let before = window.modes();
    window.types(command);
    window.shows("/ #");
    window.types("tty; stty size");
    window.shows("/dev/pts/0");
    window.shows("24 80");
    window.shows("/ #"); // the shell has its editor only at a prompt, and one that begins may drop what is typed before

    // Keys that mean something: they reach what runs in the foreground, and the shell gets the terminal back.
    let sleep = "sh -c 'echo ready; exec sleep 1000'";
    window.types(sleep);
    window.shows("ready");
    window.presses("C-z");
    window.looks("a stopped job", |lines| lines.iter().any(|line| line.contains("Stopped")));
    window.shows("/ #");
    window.types("fg");
    let interrupted =
        |lines: &[String]| lines.contains(&"^C".to_string()) && lines.contains(&"/ #".to_string());
    window.looks("^C and the prompt", |lines| {
        window.presses("C-c"); // more than once, for nothing tells when the job is back in the foreground
        interrupted(lines)
    });
    window.types(sleep);
    window.shows("ready");
    window.presses("C-c");
    window.looks("^C and the prompt", interrupted);
    window.types("echo status $?");
    window.shows("status 130");
    window.shows("/ #");

    // Programs that draw the whole screen draw it anew for each size.
    window.types("seq 1 500 > /tmp/lines; vi /tmp/lines");
    window.shows_at_the_foot("/tmp/lines 1/500", 24);
    window.resize(100, 40);
    window.shows_at_the_foot("/tmp/lines 1/500", 40);
    window.looks("39 lines of the file", |lines| lines[38] == "39");
    window.types(":q");
    window.shows("/ #");
    window.types("less /tmp/lines");
    window.shows_at_the_foot("/tmp/lines", 40);
    window.resize(60, 20);
    window.shows_at_the_foot("/tmp/lines", 20);
    window.looks("19 lines of the file", |lines| lines[18] == "19");
    window.presses("q");
    window.shows("/ #");
    window.types("top -d 1");
    window.looks("a narrow line of top's", |lines| lines[0].starts_with("Mem: ") && lines[0].len() <= 60);
    window.resize(120, 12);
    window.looks("a wide one", |lines| lines[0].starts_with("Mem: ") && lines[0].len() > 60);
    window.presses("q");
    window.shows("/ #");
    window.types("stty size");
    window.shows("12 120");
    window.shows("/ #");

    // Ctrl-D ends it, and what the shell has done to its terminal is not done to ours.
    window.types("stty raw; stty -raw; echo as it was; (exit 7)");
    window.shows("as it was"); // a raw terminal would take Ctrl-D for a key like others
    window.shows("/ #");
    window.presses("C-d");
    window.shows("caller>");
    window.types("echo status $?");
    window.shows("status 7");
    assert_eq!(window.modes(), before, "{command}: stty -g before and after");
}

#[test]
fn a_shell_behaves_as_a_login() {
    behaves_as_a_login("$RUN run -ti sh");
}

#[test]
fn so_it_does_below_an_init() {
    behaves_as_a_login("$RUN run -ti --init sh");
}

#[test]
fn and_in_a_terminal_within_the_terminal() {
    behaves_as_a_login("script -qec '$RUN run -ti sh' /dev/null");
}

#[test]
fn whatever_ends_it_the_modes_are_as_before() {
    let Some(window) = Window::open(80, 24) else { return };
    let before = window.modes();
    for (words, status) in [
        ("run -ti no-such-command", 127),
        ("run -ti /etc/passwd", 126),
        ("run -ti --rootfs /nowhere sh", 125),
        ("run -ti --tmpfs /a/../b sh", 125),
        ("run -ti sh -c 'stty raw -echo; exit 4'", 4),
        ("run -ti --init sh -c 'kill -KILL $$'", 137),
    ] {
        window.types(&format!("$RUN {words}; echo status $?"));
        window.shows(&format!("status {status}"));
        assert_eq!(window.modes(), before, "{words}: stty -g before and after");
    }
    for (signal, status) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGQUIT, 131)] {
        window.types("$RUN run -ti --init sh -c 'echo ready; exec sleep 1000'; echo status $?");
        window.shows("ready");
        kill(window.job().unwrap(), signal).unwrap();
        window.shows(&format!("status {status}"));
        assert_eq!(window.modes(), before, "{signal}: stty -g before and after");
    }
}

/// The directories of the containers that live. None is left where one has been cleared up after.
fn containers(window: &Window) -> usize {
    fs::read_dir(window.path("state/containers")).map_or(0, Iterator::count)
}

fn wait_for_containers(window: &Window, count: usize, words: &str) {
    let end = Instant::now() + SOON;
    while containers(window) != count {
        assert!(Instant::now() < end, "{words}: {} containers, and not {count}", containers(window));
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn with_its_window_a_container_ends() {
    for words in ["run -ti sh", "run -ti --init sh", "run -ti sleep 1000", "run -ti --init sleep 1000"] {
        let Some(window) = Window::open(80, 24) else { return };
        window.types(&format!("$RUN {words}"));
        wait_for_containers(&window, 1, words);
        window.tmux(&["kill-session"]);
        wait_for_containers(&window, 0, words);
    }
}

/// As when a connection breaks: `run` leads the session, and the shell in the container waits for its job.
#[test]
fn with_its_terminal_a_container_ends() {
    let Some(window) = Window::open(80, 24) else { return };
    let words = "run -ti sh -c 'echo ready; sleep 1000; echo never'";
    window.types(&format!("script -qc \"$RUN {words}\" /dev/null"));
    window.shows("ready");
    kill(window.job().unwrap(), Signal::SIGKILL).unwrap();
    wait_for_containers(&window, 0, words);
}

#[test]
fn what_is_typed_arrives_also_where_reads_and_writes_do_not_wait() {
    let Some(window) = Window::open(80, 24) else { return };
    // GNU dd leaves the terminal so: the flags are of the open file, and that is everybody's who was started from here.
    let no_waiting = "dd iflag=nonblock oflag=nonblock count=0 2>/dev/null";
    window.types(&format!(
        "({no_waiting}; $RUN run -i sh -c 'read word; seq 1 20000; echo \"got $word\"'; echo over)"
    ));
    thread::sleep(Duration::from_millis(300)); // nothing is typed yet, and that is not the end
    window.tmux(&["send-keys", "-l", "word"]);
    window.presses("Enter");
    window.looks("the word, and the end", |lines| {
        lines.iter().any(|line| line == "got word") && lines.iter().any(|line| line == "over")
    });
}
