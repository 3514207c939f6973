//! The mechanisms, one module each: what the chapters of *Containers by Hand* have in their `lib.rs`.

// The book calls each mechanism by the chapter that introduced it: `ch01_run::mounts`. Here all chapters are this
// one crate, so these names all mean it. They stay as they are.
extern crate self as ch01_run;
extern crate self as ch02_cgroups;
extern crate self as ch03_pivot_root;
extern crate self as ch04_overlay;
extern crate self as ch05_volumes;

// ==== the head ends here: below come the `pub mod` lines of every chapter, and they stay ====
