//! Rows of one core: tablets of version chains over learned indexes.
//!
//! Storage knows keys, versions and timestamps; it knows nothing of columns, plans or the log.

pub mod heap;
pub mod key;
pub mod key_map;
pub mod tablet;

pub use key::{Key, KeyKind, KeyRef};
pub use key_map::KeyMap;
pub use tablet::{CurvePoint, Head, Horizon, IntentStatus, Tablet, TabletFigures, VersionState, View};
