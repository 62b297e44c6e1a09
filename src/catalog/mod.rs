//! What tables and roles there are, and what has been granted. Core 0 owns the catalog as versioned rows of a system storage, written by
//! ordinary transactions (so that DDL is transactional and recovered like data), and publishes an immutable snapshot with each commit that
//! touches it. Sessions bind against a snapshot, overlaid with what their own transaction has changed.

pub mod acl;
pub mod encode;
pub mod identifier;
pub mod lookup;
pub mod model;
pub mod role;
pub mod statistics;
pub mod store;
pub mod system;

pub use crate::storage::KeyKind;
pub use acl::{Acl, DefaultAclDef, ObjectKind, Privileges, TableAcls};
pub use encode::{Object, ObjectKey, statistics_key};
pub use model::{Catalog, ColumnDef, LayoutCell, PrimaryKey, SchemaDef, TableDef};
pub use role::{BOOTSTRAP_NAME, BOOTSTRAP_ROLE, Membership, RoleDef};
pub use statistics::{ColumnStatistics, TableStatistics};
pub use store::CatalogStore;
