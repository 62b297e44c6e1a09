//! (header to be written by the module's author)

pub mod key;

pub use key::Key;
