//! The groups of metrics a core keeps, one file a subject. Each knows its fields and how to collect them.

mod log;
mod machine;
mod pool;
mod sql;
mod stages;
mod store;
mod transactions;

pub use log::{CheckpointMetrics, WalMetrics};
pub use machine::{ExecutorMetrics, MeshMetrics, PeerMetrics};
pub use pool::{Awaited, ClientState, PoolFigure, PoolFigures, PoolMetrics};
pub use sql::{ErrorClass, QueryPath, QueryType, SqlMetrics};
pub use stages::{SlowStatement, Stage, StageMetrics, StageTimes};
pub use store::{IndexMetrics, MemoryKind, StorageMetrics};
pub use transactions::{ConnectionMetrics, TxnMetrics};

use super::snapshot::{Collector, Labels};

/// Something that can be collected into a snapshot.
pub(super) trait Group {
    /// Push every value into `out`.
    fn collect(&self, out: &mut Collector);
}

/// An enumeration whose members are the values of one label.
macro_rules! label_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $label:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$member_doc])* $member),*
        }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$member),*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The text of the label.
            pub const fn label(self) -> &'static str {
                match self {
                    $($name::$member => $label),*
                }
            }
        }
    };
}
use label_enum;

/// One label with a text known at compile time.
fn one(key: &'static str, text: &'static str) -> Labels {
    vec![(key, text.into())]
}

/// No label.
fn none() -> Labels {
    Vec::new()
}
