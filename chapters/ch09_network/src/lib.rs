//! Chapter 9: a network.
//!
//! The modules stand in the order to read them: first how one talks to the kernel, then what is said.

pub mod netlink;
pub mod links;
pub mod addresses;
pub mod ipv6;
pub mod bridge;
pub mod instructions;
pub mod rules;
pub mod conntrack;
pub mod way_out;
pub mod ports;
pub mod hosts;
pub mod network;
pub mod neighbours;
pub mod endpoint;
pub mod options;
pub mod answers;
pub mod upstream;
pub mod resolver;
pub mod files;
pub mod beside;
pub mod datagrams;
pub mod proxy;
pub mod publish;
pub mod cable;
pub mod joined;
pub mod planning;
pub mod commands;
