//! The mechanisms, one module each: what the chapters of *Containers by Hand* have in their `lib.rs`.

// The book calls each mechanism by the chapter that introduced it: `ch01_run::mounts`. Here all chapters are this
// one crate, so these names all mean it. They stay as they are.
extern crate self as CHAPTER;

// ==== the head ends here: below come the `pub mod` lines of every chapter, and they stay ====
