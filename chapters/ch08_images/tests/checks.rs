//! The behaviour checks of this chapter and of those before it that still apply.

fn main() -> std::process::ExitCode {
    lab::main(lab::Chapter::Images, env!("CARGO_BIN_EXE_ch08_images"))
}
