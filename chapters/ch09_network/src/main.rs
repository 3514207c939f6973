//! Chapter 9: a network. This is chapter 8's table of contents, with five commands told anew, and two more.

use std::process::ExitCode;

use ch01_run::messages;
use ch07_lifecycle::commands::{
    attach, completion, cp, exec, kill, logs, of_existing, pause, rm, stats, stop, top, unpause, wait,
};
use ch08_images::commands::OfImages;
use ch09_network::commands::{inspect, network, port, ps, rename, run, start};
use clap::{CommandFactory, Parser};

#[derive(Parser)]
// No command at all is an error like any other: one line, 125. Of an option given twice, the last counts.
#[command(arg_required_else_help = false, args_override_self = true)]
enum Cli {
    /// Run a command in a new container
    Run(Box<run::Args>),
    /// Run one more command in a container that runs
    Exec(exec::Args),
    /// Print what a container has printed
    Logs(logs::Args),
    /// Go back to a container that runs
    Attach(attach::Args),
    /// Wait for the end of containers, and print their statuses
    Wait(wait::Args),
    /// End containers: first ask, then kill
    Stop(stop::Args),
    /// Send containers a signal
    Kill(kill::Args),
    /// Start containers again
    Start(start::Args),
    /// Give a container another name
    Rename(rename::Args),
    /// Remove containers
    Rm(rm::Args),
    /// List containers
    Ps(ps::Args),
    /// Tell all that is known of containers and images, as JSON
    Inspect(inspect::Args),
    /// Make, list and take away networks
    Network(network::Args),
    /// List the ports of the host that lead to a container's
    Port(port::Args),
    /// List the processes of a container
    Top(top::Args),
    /// Tell what containers use, again each second
    Stats(stats::Args),
    /// Stop all processes of containers where they stand
    Pause(pause::Args),
    /// Let paused containers go on
    Unpause(unpause::Args),
    /// Copy files between a container and the host
    Cp(cp::Args),
    #[command(flatten)]
    Images(OfImages),
    /// Print a script with which a shell completes this command line
    Completion(completion::Args),
}

fn main() -> ExitCode {
    messages::exit(Cli::try_parse(), |cli| match cli {
        Cli::Run(args) => run::run(&args),
        Cli::Exec(args) => exec::exec(&args),
        Cli::Logs(args) => of_existing(logs::logs(&args)),
        Cli::Attach(args) => of_existing(attach::attach(&args)),
        Cli::Wait(args) => of_existing(wait::wait(&args)),
        Cli::Stop(args) => of_existing(stop::stop(&args)),
        Cli::Kill(args) => of_existing(kill::kill(&args)),
        Cli::Start(args) => of_existing(start::start(&args)),
        Cli::Rename(args) => of_existing(rename::rename(&args)),
        Cli::Rm(args) => of_existing(rm::rm(&args)),
        Cli::Ps(args) => of_existing(ps::ps(&args)),
        Cli::Inspect(args) => of_existing(inspect::inspect(&args)),
        Cli::Network(args) => of_existing(network::network(&args)),
        Cli::Port(args) => of_existing(port::port(&args)),
        Cli::Top(args) => of_existing(top::top(&args)),
        Cli::Stats(args) => of_existing(stats::stats(&args)),
        Cli::Pause(args) => of_existing(pause::pause(&args)),
        Cli::Unpause(args) => of_existing(unpause::unpause(&args)),
        Cli::Cp(args) => of_existing(cp::cp(&args)),
        Cli::Images(command) => of_existing(command.carry_out()),
        Cli::Completion(args) => completion::completion(&args, Cli::command()),
    })
}
