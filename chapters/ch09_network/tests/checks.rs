//! The behaviour checks of this chapter and of those before it that still apply.

fn main() -> std::process::ExitCode {
    lab::main(lab::Chapter::Network, env!("CARGO_BIN_EXE_ch09_network"))
}
