//! `inspect`: all that is known of a container, as JSON with Docker's keys.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Result, bail};
use ch01_run::{errors, messages};
use ch05_volumes::spec;
use serde_json::{Map, Value, json};

use crate::asked::Asked;
use crate::listing::{self, moment};
use crate::process1::Process1;
use crate::record::Record;
use crate::restart::Policy;
use crate::several::Containers;
use crate::state::State;
use crate::{facts, find, lowers, output, time};

/// What `inspect` is asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// json, which it is anyhow
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    format: String,
    #[command(flatten)]
    which: Containers,
}

/// All that `inspect` does, in order.
pub fn inspect(args: &Args) -> Result<u8> {
    let state = args.which.begin()?;
    if args.format != "json" {
        bail!("--format {:?}: there is only json; jq picks out of it what you want", args.format);
    }
    let (mut known, mut status) = (Vec::new(), 0);
    for word in &args.which.containers {
        match find::one(&state, word).and_then(|record| all_of(&record)) {
            Ok(facts) => known.push(facts),
            Err(error) => {
                messages::say(&errors::one_line(&error).replace("No such container", "No such object"));
                status = 1;
            }
        }
    }
    output::print_line(&format!("{:#}", Value::Array(known)))?;
    Ok(status)
}

/// All that is known of one container.
pub fn all_of(record: &Record) -> Result<Value> {
    // What the record does not say any more is left out, and the rest is told.
    let asked = Asked::of(record).ok();
    let mut all = Map::new();
    let mut tell = |key: &str, value: Value| all.insert(key.to_string(), value);
    tell("Id", json!(record.id()));
    tell("Name", json!(format!("/{}", record.read("name")?.unwrap_or_default())));
    tell("Created", json!(written(record, "created")?));
    tell("State", state_of(record)?);
    tell("RestartCount", json!(number(record, "restarts")?));
    tell("LogPath", json!(record.path("log")));
    tell("Image", json!(record.read("image")?));
    tell("GraphDriver", json!({"Name": "overlay2", "Data": directories(record)}));
    if let Some(asked) = &asked {
        let (path, arguments) = asked.command.split_first().unzip();
        tell("Path", json!(path.map(|path| path.to_string_lossy())));
        tell("Args", texts(arguments.unwrap_or_default().iter().map(OsString::as_os_str)));
        tell("HostConfig", host_config(asked));
        tell("Mounts", mounts(asked));
        tell("Config", config(record, asked)?);
    }
    Ok(Value::Object(all))
}

/// Where its files are, the layers in one text with colons between.
fn directories(record: &Record) -> Value {
    let lowers = lowers::read(record).unwrap_or_default();
    let lowers: Vec<_> = lowers.iter().map(|lower| lower.to_string_lossy()).collect();
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| record.path(name));
    json!({"LowerDir": lowers.join(":"), "UpperDir": upper, "WorkDir": work, "MergedDir": merged})
}

fn state_of(record: &Record) -> Result<Value> {
    let state = State::of(record)?;
    let process = if state.runs() { Process1::of(record)? } else { None };
    let status = match state {
        State::Exited(status) | State::Restarting(status) => status,
        _ => 0,
    };
    Ok(json!({
        "Status": listing::word(state),
        "Running": state.runs(),
        "Paused": state == State::Paused,
        "Restarting": matches!(state, State::Restarting(_)),
        "Pid": process.map_or(0, |process| process.pid().as_raw()),
        "ExitCode": status,
        "Error": record.read("failure")?.unwrap_or_default(),
        "StartedAt": written(record, "started")?,
        "FinishedAt": written(record, "ended")?,
    }))
}

fn host_config(asked: &Asked) -> Value {
    let (limits, keeping) = (&asked.limits, &asked.keeping);
    let (policy, most) = match keeping.restart {
        Policy::No => ("no", 0),
        Policy::OnFailure(most) => ("on-failure", most.unwrap_or(0)),
        Policy::Always => ("always", 0),
    };
    json!({
        "Memory": limits.memory.unwrap_or(0),
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        // Chapter 2 has microseconds of each 100 ms; Docker has billionths of a CPU.
        "NanoCpus": limits.cpu_quota.unwrap_or(0) * 10_000,
        "CpusetCpus": limits.cpuset_cpus.as_ref().map_or("", |list| &list.text),
        "CpusetMems": limits.cpuset_mems.as_ref().map_or("", |list| &list.text),
        "PidsLimit": limits.pids,
        "ShmSize": asked.surroundings.shm_size,
        "Init": asked.surroundings.init,
        "ReadonlyRootfs": asked.read_only,
        "Binds": texts(asked.volumes.iter().map(OsString::as_os_str)),
        "RestartPolicy": {"Name": policy, "MaximumRetryCount": most},
        "AutoRemove": keeping.remove,
        "ContainerIDFile": keeping.cidfile.as_deref().unwrap_or(Path::new("")).to_string_lossy(),
    })
}

fn mounts(asked: &Asked) -> Value {
    let volumes = spec::parse_all(&asked.volumes).unwrap_or_default();
    let mount = |volume: &spec::Volume| {
        json!({
            "Type": "bind",
            "Source": volume.source,
            "Destination": volume.target,
            "Mode": if volume.read_only { "ro" } else { "" },
            "RW": !volume.read_only,
        })
    };
    volumes.iter().map(mount).collect()
}

fn config(record: &Record, asked: &Asked) -> Result<Value> {
    let environment = record.read_bytes("environment")?.unwrap_or_default();
    Ok(json!({
        "User": asked.process.user.as_ref().map(ToString::to_string).unwrap_or_default(),
        "Hostname": asked.options.hostname_or(record.id()).to_string_lossy(),
        "Image": record.read("image")?,
        "Env": texts(facts::split(&environment).into_iter().map(OsStr::from_bytes)),
        "Cmd": texts(asked.command.iter().map(OsString::as_os_str)),
        "WorkingDir": asked.process.workdir.as_deref().unwrap_or(Path::new("")).to_string_lossy(),
        "Tty": asked.options.terminal,
        "OpenStdin": asked.options.interactive,
        "StopSignal": asked.keeping.stop_signal.to_string(),
        "StopTimeout": asked.keeping.stop_timeout,
    }))
}

/// JSON is Unicode. What is not, in a path or an argument, becomes `�` there.
fn texts<'a>(words: impl Iterator<Item = &'a OsStr>) -> Value {
    words.map(|word| json!(word.to_string_lossy())).collect()
}

/// A fact that is a moment, or the one that Docker writes where there has been none.
fn written(record: &Record, name: &str) -> Result<String> {
    Ok(moment(record, name)?.map_or("0001-01-01T00:00:00Z".to_string(), time::rfc3339))
}

fn number(record: &Record, name: &str) -> Result<u64> {
    Ok(record.read(name)?.and_then(|text| text.parse().ok()).unwrap_or(0))
}
