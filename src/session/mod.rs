//! One client's conversation with the database: its settings, transaction, prepared statements and portals.

pub mod interrupt;
pub mod response;
pub mod settings;
