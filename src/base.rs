//! The identifiers every layer shares. Newtypes, so that a core number can never be taken for a tablet or a timestamp for a
//! log position.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A core of this server: 0 to cores − 1, in the order of the `--cores` list. Not a CPU number of the machine.
    CoreId, u16
);
id!(
    /// A commit timestamp drawn from the dense clock. 0 means "before every commit".
    CommitTs, u64
);
id!(
    /// A transaction, unique for the life of one server process: home core in the top 16 bits, a per-core sequence below.
    TxnId, u64
);
id!(
    /// What a table's rows are stored under (PostgreSQL's relfilenode). TRUNCATE and rewrites give a table a new one.
    StorageId, u32
);
id!(
    /// A key range of one storage, owned by one core.
    TabletId, u64
);
id!(
    /// A byte position in one core's log, monotonic over all its segments.
    Lsn, u64
);
id!(
    /// A catalog object identifier, as PostgreSQL's `oid`.
    Oid, u32
);

impl CoreId {
    /// The core as an index into per-core arrays.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl TxnId {
    /// A transaction of `home` with the core's sequence number `sequence` (below 2^48).
    pub fn new(home: CoreId, sequence: u64) -> Self {
        assert!(sequence < 1 << 48, "a core never starts 2^48 transactions in one process");
        Self(u64::from(home.0) << 48 | sequence)
    }

    /// Its number among those of its core.
    pub fn sequence(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }

    /// What stands for it where PostgreSQL has 32 bits (`xid`): a number from 2^31 on, unique among the transactions of a time. Those below
    /// are for prepared transactions.
    pub fn xid(self) -> u32 {
        1 << 31 | (self.sequence() as u32) << 8 | u32::from(self.home().0) & 0xff
    }

    /// The core on which the transaction began.
    pub fn home(self) -> CoreId {
        CoreId((self.0 >> 48) as u16)
    }
}
