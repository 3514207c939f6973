//! `ps` and `inspect`.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::chapter::Chapter::Lifecycle;
use crate::checks::check::Check;
use crate::see;
use crate::trial::runtime::Lab;

pub(crate) const CHECKS: &[Check] = &[
    Check::new(
        "ps-running",
        Lifecycle,
        "ps shows those that run, ps -a all, the newest first; -q only their ids.",
        running,
    ),
    Check::new("ps-columns", Lifecycle, "ps has Docker's columns, and Docker's words for a status.", columns),
    Check::new(
        "ps-json",
        Lifecycle,
        "ps --format json has an object in each line, with Docker's names.",
        lines_of_json,
    ),
    Check::new(
        "ps-one-line",
        Lifecycle,
        "A command of newlines, escape sequences and bytes that are no text is one harmless line of ps.",
        one_line,
    ),
    Check::new(
        "inspect-facts",
        Lifecycle,
        "inspect tells all as JSON, with Docker's names, of several too.",
        inspect,
    ),
    Check::new(
        "inspect-options",
        Lifecycle,
        "inspect tells what run was asked for, with Docker's names: user, directory, variables, volumes, policy.",
        inspect_options,
    ),
];

fn running(lab: &Lab) -> Result<()> {
    lab.says("ps", ["-a", "-q"], "")?; // the first command of all
    let ended = lab.kept(["true"]).detach()?;
    ended.exits(0)?;
    let first = lab.kept(["sleep", "1000"]).detach()?;
    let second = lab.kept(["sleep", "1000"]).detach()?;
    let (ended, one, two) = (ended.id(), first.id(), second.id());
    lab.says("ps", ["-q"], &format!("{two}\n{one}\n"))?;
    lab.says("ps", ["-aq"], &format!("{two}\n{one}\n{ended}\n"))?;
    first.process()?.signal(Signal::SIGKILL);
    first.exits(137)?;
    lab.says("ps", ["-q", "--no-trunc"], &format!("{two}\n"))?;
    let table = lab.call("ps", ["-a"]).finish()?;
    table.succeeds()?;
    see::same(&table.line, "lines, with the headings:", 4, table.output().lines().count())
}

/// A table's cells, below their headings: two blanks end a cell.
fn cells(table: &str) -> Option<Vec<Vec<(String, String)>>> {
    let mut lines = table.lines();
    let heading: Vec<char> = lines.next()?.chars().collect();
    let mut columns: Vec<(usize, String)> = Vec::new();
    for (at, letter) in heading.iter().enumerate() {
        let begins = *letter != ' ' && (at == 0 || heading[..at].ends_with(&[' ', ' ']));
        match columns.last_mut() {
            _ if begins => columns.push((at, letter.to_string())),
            Some((_, name)) => name.push(*letter),
            None => {}
        }
    }
    let cell = |line: &str, number: usize| -> String {
        let from = columns[number].0;
        let to = columns.get(number + 1).map_or(usize::MAX, |(at, _)| *at);
        line.chars().skip(from).take(to - from).collect::<String>().trim_end().to_string()
    };
    let row = |line: &str| {
        (0..columns.len()).map(|n| (columns[n].1.trim_end().to_string(), cell(line, n))).collect()
    };
    Some(lines.map(row).collect())
}

fn columns(lab: &Lab) -> Result<()> {
    let long = lab
        .kept(["echo", "a", "command", "that", "is", "longer"])
        .with(["--name", "a-long-name-for-a-container"])
        .detach()?;
    long.exits(0)?;
    let bad = lab.kept(["sh", "-c", "exit 7"]).with(["--name", "bad"]).detach()?;
    bad.exits(7)?;
    let up = lab.kept(["sleep", "1000"]).with(["--name", "up"]).detach()?;
    lab.kept(["no-such-command"]).with(["--name", "created"]).finish()?.exits(127)?;
    let table = lab.call("ps", ["-a"]).finish()?;
    let created = lab.call("rm", ["created"]).finish()?;
    let rows = cells(&table.output()).unwrap_or_default();
    let names: Vec<_> = rows.first().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let asked = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"];
    let docker = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
    if names != asked && names != docker {
        return Err(table.differs(format!("the columns {asked:?}")));
    }
    let cell = |row: usize, name: &str| -> String {
        let cell = rows.get(row).and_then(|row| row.iter().find(|(column, _)| column == name));
        cell.map(|(_, text)| text.clone()).unwrap_or_default()
    };
    let command = |row| cell(row, "COMMAND");
    let facts = [
        (cell(0, "NAMES") == "created", "the newest first"),
        (cell(0, "STATUS") == "Created", "Created, of what never ran"),
        (cell(1, "CONTAINER ID") == up.id(), "the id"),
        (cell(1, "STATUS").starts_with("Up "), "Up, of what runs"),
        (command(1) == "\"sleep 1000\"", "the command in quotes"),
        (cell(1, "CREATED").ends_with(" ago"), "how long ago it was made"),
        (
            cell(2, "STATUS").starts_with("Exited (7) ") && cell(2, "STATUS").ends_with(" ago"),
            "Exited (7) … ago",
        ),
        (cell(3, "NAMES") == "a-long-name-for-a-container", "a long name, whole"),
        (
            command(3).starts_with("\"echo a command that") && command(3).ends_with("…\""),
            "a long command, cut: …",
        ),
        (command(3).chars().count() == 22, "twenty letters of it"),
    ];
    for (holds, what) in facts {
        if !holds {
            return Err(table.differs(what));
        }
    }
    created.succeeds()?;
    let table = lab.call("ps", ["-a", "--no-trunc"]).finish()?;
    if !table.output().contains("\"echo a command that is longer\"") {
        return Err(table.differs("with --no-trunc the whole command"));
    }
    Ok(())
}

fn lines_of_json(lab: &Lab) -> Result<()> {
    let ended = lab.kept(["sh", "-c", "exit 7"]).with(["--name", "ended"]).detach()?;
    ended.exits(7)?;
    let up = lab.kept(["sleep", "1000"]).with(["--name", "up"]).detach()?;
    let all = lab.listed()?;
    let did = "ps -a --no-trunc --format json";
    let texts = |name: &str| all.iter().map(|one| one[name].as_str().unwrap_or_default()).collect::<Vec<_>>();
    see::same(did, "ID:", vec![up.id(), ended.id()], texts("ID"))?;
    see::same(did, "Names:", vec!["up", "ended"], texts("Names"))?;
    see::same(did, "State:", vec!["running", "exited"], texts("State"))?;
    let statuses = texts("Status");
    see::same(
        did,
        "Status to begin as in the table:",
        true,
        statuses[0].starts_with("Up ") && statuses[1].starts_with("Exited (7) "),
    )?;
    see::same(did, "Command to have the words:", true, texts("Command")[0].contains("sleep 1000"))?;
    let only = lab.call("ps", ["--format", "json"]).finish()?;
    only.succeeds()?;
    see::same(&only.line, "lines:", 1, only.output().lines().count())?;
    lab.call("ps", ["--format", "yaml"]).finish()?.refuses(&[1, 2, 125]).map(drop)
}

fn one_line(lab: &Lab) -> Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let odd = OsStr::from_bytes(b"\x1b[2J\x1b]0;title\x07\n\nroot\t\r\xff\xfe\"'\\");
    let one = lab.kept([OsStr::new("true"), odd]).with(["--name", "odd"]).finish()?;
    let table = lab.call("ps", ["-a", "--no-trunc"]).finish()?;
    table.succeeds()?;
    let removed = lab.call("rm", ["-f", "odd"]);
    let lines = table.output().lines().count();
    if lines != 2 || table.stdout.iter().any(|byte| *byte < b' ' && *byte != b'\n') {
        removed.finish()?;
        return Err(table.differs(format!("two lines without control characters, after {}", one.line)));
    }
    let listed = lab.listed();
    let inspected = lab.call("inspect", ["odd"]).finish()?;
    removed.finish()?.succeeds()?;
    see::same("ps -a --format json", "objects:", 1, listed?.len())?;
    inspected.succeeds()?;
    match serde_json::from_slice::<Value>(&inspected.stdout) {
        Ok(_) => Ok(()),
        Err(_) => Err(inspected.differs("JSON")),
    }
}

fn inspect(lab: &Lab) -> Result<()> {
    let up = lab.kept(["sleep", "1000"]).with(["--name", "up"]).detach()?;
    let ended = lab.kept(["sh", "-c", "exit 7"]).with(["--name", "ended"]).detach()?;
    ended.exits(7)?;
    let outcome = lab.call("inspect", ["up", ended.id()]).finish()?;
    outcome.succeeds()?;
    let Ok(all) = serde_json::from_slice::<Vec<Value>>(&outcome.stdout) else {
        return Err(outcome.differs("a JSON array"));
    };
    see::same(&outcome.line, "objects:", 2, all.len())?;
    let (one, two) = (&all[0], &all[1]);
    let pid = up.process()?.0;
    let facts = [
        ("Id", one["Id"].clone(), up.id().into()),
        ("Name", one["Name"].clone(), "/up".into()),
        ("Path", one["Path"].clone(), "sleep".into()),
        ("Args", one["Args"].clone(), json!(["1000"])),
        ("State.Status", one["State"]["Status"].clone(), "running".into()),
        ("State.Running", one["State"]["Running"].clone(), true.into()),
        ("State.Pid", one["State"]["Pid"].clone(), pid.into()),
        ("RestartCount", one["RestartCount"].clone(), 0.into()),
        ("the second's Id", two["Id"].clone(), ended.id().into()),
        ("the second's State.Status", two["State"]["Status"].clone(), "exited".into()),
        ("the second's State.Running", two["State"]["Running"].clone(), false.into()),
        ("the second's State.ExitCode", two["State"]["ExitCode"].clone(), 7.into()),
        ("the second's State.Pid", two["State"]["Pid"].clone(), 0.into()),
    ];
    for (name, saw, expected) in facts {
        see::same(&outcome.line, &format!("{name} to be"), expected, saw)?;
    }
    for (of, name) in [
        (&one["Created"], "Created"),
        (&one["State"]["StartedAt"], "State.StartedAt"),
        (&two["State"]["FinishedAt"], "the second's State.FinishedAt"),
    ] {
        let text = of.as_str().unwrap_or_default();
        if !(text.starts_with("20") && text.contains('T') && text.ends_with('Z')) {
            return Err(outcome.differs(format!("{name} as 2026-11-24T14:56:29.767064755Z")));
        }
    }
    let some = lab.call("inspect", ["up", "nobody"]).finish()?;
    some.exits(1)?.mentions("nobody")?;
    let told = serde_json::from_slice::<Vec<Value>>(&some.stdout).unwrap_or_default();
    see::same(&some.line, "those that there are to be told:", 1, told.len())
}

fn inspect_options(lab: &Lab) -> Result<()> {
    let (data, file) = (lab.folder("data")?, lab.path("cid"));
    let volume = format!("{}:/data:ro", data.display());
    let file = file.to_str().context("a path that is no text")?;
    let one = lab.kept(["sleep", "1000"]).with([
        "-u",
        "1234:56",
        "-w",
        "/tmp",
        "-e",
        "COLOUR=green",
        "-v",
        &volume,
    ]);
    let one =
        one.with(["--restart", "on-failure:3", "--hostname", "inner", "--cidfile", file, "-i"]).detach()?;
    let plain = lab.kept(["sleep", "1000"]).detach()?;
    let (told, untold) = (one.inspected()?, plain.inspected()?);
    let data = data.to_str().context("a path that is no text")?;
    let facts = [
        ("/Config/User", json!("1234:56"), json!("")),
        ("/Config/WorkingDir", json!("/tmp"), json!("")),
        ("/Config/Hostname", json!("inner"), json!(plain.id())),
        ("/Config/Cmd", json!(["sleep", "1000"]), json!(["sleep", "1000"])),
        ("/Config/OpenStdin", json!(true), json!(false)),
        ("/Config/Tty", json!(false), json!(false)),
        ("/HostConfig/Binds", json!([volume]), json!([])),
        ("/HostConfig/RestartPolicy/Name", json!("on-failure"), json!("no")),
        ("/HostConfig/RestartPolicy/MaximumRetryCount", json!(3), json!(0)),
        ("/HostConfig/ContainerIDFile", json!(file), json!("")),
        ("/HostConfig/AutoRemove", json!(false), json!(false)),
        ("/Mounts/0/Source", json!(data), Value::Null),
        ("/Mounts/0/Destination", json!("/data"), Value::Null),
        ("/Mounts/0/RW", json!(false), Value::Null),
    ];
    for (name, asked, not) in facts {
        let at = |value: &Value| value.pointer(name).cloned().unwrap_or(Value::Null);
        see::same(one.line(), &format!("inspect's {name} to be"), asked, at(&told))?;
        see::same(plain.line(), &format!("inspect's {name} to be"), not, at(&untold))?;
    }
    let variables = told["Config"]["Env"].as_array().cloned().unwrap_or_default();
    see::same(
        one.line(),
        "COLOUR=green in inspect's Config.Env:",
        true,
        variables.contains(&json!("COLOUR=green")),
    )
}
