//! The Hugging Face hub: what it has, and the cache its files go to. Only `splitbench prepare` makes requests.
//!
//! hf-hub 0.5 names the folders of the cache. Its downloads are not used: they write a whole answer behind a partial file,
//! check no SHA-256, ignore HF_HUB_OFFLINE, and panic where a redirect has no address. hf-hub 1.0.0 was looked at again in
//! November 2026: it goes on with no partial file and does not know HF_HUB_OFFLINE either, and it brings 326 crates.

mod certificates;
mod client;
mod failure;
mod fetch;
mod listing;
mod place;
mod proxy;
mod snapshot;
mod store;

pub use failure::Failure;
pub use fetch::{Fetched, Hub};
pub use listing::{Kind, Listing, Repo};
pub use place::{cache, datasets_folder, home};
pub use snapshot::snapshot_in;
pub use store::kept_files;
