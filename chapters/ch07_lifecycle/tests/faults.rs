//! Every step of this chapter's run fails once, or is its last, and what is hostile stays outside.

fn main() -> std::process::ExitCode {
    lab::faults(lab::Chapter::Lifecycle, env!("CARGO_BIN_EXE_ch07_lifecycle"))
}
