//! The real program on real repositories.

mod kill;
mod kinds;
mod limits;
mod processes;
mod repo;
mod sources;
mod steps;
