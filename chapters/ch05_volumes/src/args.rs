// ANCHOR: head
//! The command line of chapter 5, in Docker's words.

use std::ffi::OsString;
use std::path::PathBuf;

use ch02_cgroups::limits::{self, Limits, NumberList};
use clap::Parser;
use log::LevelFilter;

#[derive(Parser)]
#[command(arg_required_else_help = false)] // no command at all is an error like any other: one line, 125
pub enum Cli {
    /// Run a command in a new container
    Run(Run),
}
// ANCHOR_END: head

// ANCHOR: options
#[derive(clap::Args)]
pub struct Run {
    /// Keep stdin open (else the container reads /dev/null)
    #[arg(short)]
    pub interactive: bool,
    /// Use the caller's terminal
    #[arg(short)]
    pub terminal: bool,
    /// The container's hostname [default: its id]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<OsString>,
    /// Memory, swap included: 100m, 1g, or bytes
    #[arg(short, long, value_name = "SIZE", value_parser = limits::parse_memory, allow_hyphen_values = true)]
    memory: Option<u64>,
    /// Weight against others when the CPUs are busy; without it 1024
    #[arg(long, alias = "cpushare", value_name = "N", value_parser = limits::parse_cpu_shares, allow_hyphen_values = true)]
    cpu_shares: Option<u64>,
    /// At most the time of so many CPUs: 0.5, 2
    #[arg(long, value_name = "N", value_parser = limits::parse_cpus, allow_hyphen_values = true)]
    cpus: Option<u64>,
    /// The CPUs to run on: 0-1,3
    #[arg(long, alias = "cpuset", value_name = "LIST", allow_hyphen_values = true)]
    cpuset_cpus: Option<NumberList>,
    /// The memory nodes to use: 0
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    cpuset_mems: Option<NumberList>,
    /// Processes and threads at any one time
    #[arg(long, value_name = "N", value_parser = limits::parse_pids, allow_hyphen_values = true)]
    pids_limit: Option<u64>,
    /// The image: a directory [default: the busybox image]
    #[arg(long, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// Mount SRC of the host on DST in the container, read-only or not; may be given again
    #[arg(short = 'v', long = "volume", value_name = "SRC:DST[:ro|rw]")]
    pub volumes: Vec<OsString>,
    /// What to tell on stderr: error, warn, info, debug or trace [default: $RUST_LOG, else warn]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LevelFilter>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}
// ANCHOR_END: options

// ANCHOR: limits
impl Run {
    pub fn limits(&self) -> Limits {
        Limits {
            memory: self.memory,
            cpu_shares: self.cpu_shares,
            cpu_quota: self.cpus,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit,
        }
    }
}
// ANCHOR_END: limits
