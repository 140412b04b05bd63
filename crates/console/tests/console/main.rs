//! The console as a browser and a program see it, without a network in between.

mod api;
mod bench;
mod login;
mod pages;
