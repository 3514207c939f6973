//! `cargo run -p book -- make`: writes what the book shows and nobody types.
fn main() {}
