//! Chapter 8: images in layers.
//!
//! The modules stand in the order to read them: first what an image is made of, then how it comes and goes.

pub mod digest;
pub mod name;
pub mod platform;
pub mod formats;
pub mod store;
pub mod tags;
pub mod image;
pub mod decompress;
pub mod whiteout;
pub mod entry;
pub mod entries;
pub mod looks;
pub mod layer_unpack;
pub mod disk;
pub mod layers;
pub mod layer_pack;
pub mod changes;
pub mod new_image;
pub mod files;
pub mod layout;
pub mod archive;
pub mod garbage;
pub mod instructions;
pub mod address;
pub mod challenge;
pub mod credentials;
pub mod answer;
pub mod registry;
pub mod progress;
pub mod fetch;
pub mod pull;
pub mod push;
pub mod committed;
pub mod shown;
pub mod builtin;
pub mod translation;
pub mod anonymous;
pub mod commands;
