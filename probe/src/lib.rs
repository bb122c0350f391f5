//! Can sandboxes reach the services of their own host, and if not, why.
mod check;
mod deadline;
mod dial;
mod engine;
mod evidence;
mod firewall;
mod image;
mod interrupt;
mod listeners;
mod remedy;
mod route;
mod sanitize;
mod standpoint;
mod target;
mod vantage;
mod verdict;
