//! What the compiler writes: whole rulesets, and whether the kernel takes them and gives them back as they were.

mod common;
mod device;
mod guard;
mod random;
