//! Every step of this chapter's commands fails once, or is their last, and what is hostile stays outside.

fn main() -> std::process::ExitCode {
    lab::faults(lab::Chapter::Network, env!("CARGO_BIN_EXE_ch09_network"))
}
