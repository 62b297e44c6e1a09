//! The bytes of catalog objects: one row of the catalog's storage each, keyed by OID, or for statistics 2^32 above their table's.
//!
//! A format byte, then JSON: objects are few and small, and a human with `omendb wal inspect` should be able to read them.

use serde::{Deserialize, Serialize};

use crate::base::{Oid, StorageId};
use crate::catalog::acl::Acl;
use crate::catalog::acl::{DefaultAclDef, EncodedAcl, EncodedDefaultAcl, EncodedTableAcls};
use crate::catalog::model::{ColumnDef, LayoutCell, PrimaryKey, SchemaDef, TableDef};
use crate::catalog::role::{BOOTSTRAP_ROLE, EncodedRole, RoleDef};
use crate::catalog::statistics::{EncodedStatistics, TableStatistics};
use crate::catalog::system::DATABASE;
use crate::types::{ColumnType, SqlType};

/// Version of the encoding.
const FORMAT: u8 = 1;

/// A catalog object.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A schema.
    Schema(SchemaDef),
    /// A role.
    Role(Box<RoleDef>),
    /// A table.
    Table(Box<TableDef>),
    /// What is known of a table's rows.
    Statistics(Box<TableStatistics>),
    /// What is granted on the database.
    Database(Acl),
    /// What is granted on new objects.
    DefaultAcl(Box<DefaultAclDef>),
}

/// Statistics are kept under the table's OID above this: OIDs are below it.
const STATISTICS_KEYS: i64 = 1 << 32;

/// The key of the statistics of a table.
pub fn statistics_key(table: Oid) -> i64 {
    STATISTICS_KEYS + i64::from(table.0)
}

/// What a key of the catalog's storage names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKey {
    /// A schema, a table, a role, the database, or what is granted on new objects.
    Object(Oid),
    /// The statistics of a table.
    Statistics(Oid),
}

impl ObjectKey {
    /// Reads a key.
    pub fn of(key: i64) -> Option<Self> {
        match u32::try_from(key) {
            Ok(oid) => Some(ObjectKey::Object(Oid(oid))),
            Err(_) => u32::try_from(key.checked_sub(STATISTICS_KEYS)?).ok().map(|oid| ObjectKey::Statistics(Oid(oid))),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Encoded {
    Schema {
        oid: u32,
        name: String,
        owner: u32,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        acl: Option<EncodedAcl>,
    },
    Database {
        acl: EncodedAcl,
    },
    DefaultAcl(EncodedDefaultAcl),
    Table {
        oid: u32,
        schema: u32,
        name: String,
        /// Tables of before there were roles are the bootstrap superuser's.
        #[serde(skip_serializing_if = "is_bootstrap", default = "bootstrap")]
        owner: u32,
        #[serde(skip_serializing_if = "EncodedTableAcls::is_default", default)]
        acls: EncodedTableAcls,
        storage: u32,
        columns: Vec<EncodedColumn>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        primary_key: Option<EncodedKey>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        options: Vec<(String, String)>,
    },
    Statistics(EncodedStatistics),
    Role(EncodedRole),
}

fn bootstrap() -> u32 {
    BOOTSTRAP_ROLE.0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // Serde hands fields by reference.
fn is_bootstrap(owner: &u32) -> bool {
    *owner == BOOTSTRAP_ROLE.0
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncodedColumn {
    name: String,
    type_oid: u32,
    typmod: i32,
    not_null: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    default: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncodedKey {
    index_oid: u32,
    constraint_oid: u32,
    name: String,
    columns: Vec<usize>,
}

impl Object {
    /// The key of its row.
    pub fn key(&self) -> i64 {
        match self {
            Object::Schema(schema) => i64::from(schema.oid.0),
            Object::Table(table) => i64::from(table.oid.0),
            Object::Role(role) => i64::from(role.oid.0),
            Object::Statistics(statistics) => statistics_key(statistics.table),
            Object::Database(_) => i64::from(DATABASE.0),
            Object::DefaultAcl(known) => i64::from(known.oid.0),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let encoded = match self {
            Object::Schema(schema) => Encoded::Schema {
                oid: schema.oid.0,
                name: schema.name.clone(),
                owner: schema.owner.0,
                acl: schema.acl.as_ref().map(EncodedAcl::from),
            },
            Object::Database(acl) => Encoded::Database { acl: acl.into() },
            Object::DefaultAcl(known) => Encoded::DefaultAcl((&**known).into()),
            Object::Table(table) => Encoded::Table {
                oid: table.oid.0,
                schema: table.schema.0,
                name: table.name.clone(),
                owner: table.owner.0,
                acls: (&table.acls).into(),
                storage: table.storage.0,
                columns: table.columns.iter().map(encode_column).collect(),
                primary_key: table.primary_key.as_ref().map(encode_key),
                options: table.options.clone(),
            },
            Object::Role(role) => Encoded::Role((&**role).into()),
            Object::Statistics(statistics) => Encoded::Statistics((&**statistics).into()),
        };
        let mut bytes = vec![FORMAT];
        serde_json::to_writer(&mut bytes, &encoded).expect("catalog objects are plain data and a Vec takes all bytes");
        bytes
    }

    /// Reads an object's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (format, json) = bytes.split_first().ok_or("a catalog object is empty")?;
        if *format != FORMAT {
            return Err(format!("a catalog object has format {format}; this server reads format {FORMAT}"));
        }
        let encoded: Encoded = serde_json::from_slice(json).map_err(|error| format!("a catalog object is malformed: {error}"))?;
        Ok(match encoded {
            Encoded::Schema { oid, name, owner, acl } => {
                let acl = acl.map(EncodedAcl::decode).transpose()?;
                Object::Schema(SchemaDef { oid: Oid(oid), name, owner: Oid(owner), acl })
            }
            Encoded::Database { acl } => Object::Database(acl.decode()?),
            Encoded::DefaultAcl(known) => Object::DefaultAcl(Box::new(known.decode()?)),
            Encoded::Statistics(statistics) => Object::Statistics(Box::new(statistics.into())),
            Encoded::Role(role) => Object::Role(Box::new(role.decode()?)),
            Encoded::Table { oid, schema, name, owner, acls, storage, columns, primary_key, options } => {
                let columns = columns.into_iter().map(decode_column).collect::<Result<Vec<_>, _>>()?;
                let primary_key = primary_key.map(|key| decode_key(key, columns.len())).transpose()?;
                let acls = acls.decode(columns.len())?;
                Object::Table(Box::new(TableDef {
                    oid: Oid(oid),
                    schema: Oid(schema),
                    name,
                    owner: Oid(owner),
                    acls,
                    columns,
                    primary_key,
                    storage: StorageId(storage),
                    options,
                    layout: LayoutCell::default(),
                }))
            }
        })
    }
}

fn encode_column(column: &ColumnDef) -> EncodedColumn {
    EncodedColumn {
        name: column.name.clone(),
        type_oid: column.ty.ty.oid().0,
        typmod: column.ty.typmod,
        not_null: column.not_null,
        default: column.default.clone(),
    }
}

fn decode_column(column: EncodedColumn) -> Result<ColumnDef, String> {
    let ty = SqlType::from_oid(Oid(column.type_oid))
        .ok_or_else(|| format!("column {} has unknown type {}", column.name, column.type_oid))?;
    let ty = ColumnType { ty, typmod: column.typmod };
    Ok(ColumnDef { name: column.name, ty, not_null: column.not_null, default: column.default })
}

fn encode_key(key: &PrimaryKey) -> EncodedKey {
    EncodedKey {
        index_oid: key.index_oid.0,
        constraint_oid: key.constraint_oid.0,
        name: key.name.clone(),
        columns: key.columns.clone(),
    }
}

fn decode_key(key: EncodedKey, columns: usize) -> Result<PrimaryKey, String> {
    if key.columns.is_empty() || key.columns.iter().any(|column| *column >= columns) {
        return Err(format!("primary key {} names columns that do not exist", key.name));
    }
    Ok(PrimaryKey {
        index_oid: Oid(key.index_oid),
        constraint_oid: Oid(key.constraint_oid),
        name: key.name,
        columns: key.columns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::acl::{AclItem, ObjectKind, Privileges, TableAcls};

    fn item(grantee: u32, privileges: Privileges, options: Privileges) -> AclItem {
        AclItem { grantee: Oid(grantee), grantor: Oid(16_390), privileges, options }
    }

    #[test]
    fn objects_survive_and_garbage_is_refused() {
        let table = Object::Table(Box::new(TableDef {
            oid: Oid(16_384),
            schema: Oid(2200),
            name: "t".into(),
            owner: Oid(16_390),
            acls: TableAcls {
                table: Some(Acl::new(vec![
                    item(0, Privileges::SELECT, Privileges::NONE),
                    item(16_391, Privileges::ALL, Privileges::INSERT),
                ])),
                columns: [(0, Acl::new(vec![item(16_392, Privileges::UPDATE, Privileges::UPDATE)]))].into(),
            },
            columns: vec![ColumnDef {
                name: "a".into(),
                ty: ColumnType { ty: SqlType::Varchar, typmod: 14 },
                not_null: true,
                default: Some("'x'".into()),
            }],
            primary_key: Some(PrimaryKey {
                index_oid: Oid(16_385),
                constraint_oid: Oid(16_386),
                name: "t_pkey".into(),
                columns: vec![0],
            }),
            storage: StorageId(17),
            options: vec![("fillfactor".into(), "100".into())],
            layout: LayoutCell::default(),
        }));
        assert_eq!(Object::decode(&table.encode()), Ok(table.clone()));
        for cut in 0..table.encode().len() {
            assert!(Object::decode(&table.encode()[..cut]).is_err());
        }
        assert!(Object::decode(&[9, b'{', b'}']).is_err());
    }

    #[test]
    fn what_is_granted_survives() {
        let acl = Acl::new(vec![item(0, Privileges::CONNECT, Privileges::NONE), item(7, Privileges::ALL, Privileges::ALL)]);
        let known = DefaultAclDef {
            oid: Oid(20_000),
            role: Oid(10),
            schema: Some(Oid(2200)),
            kind: ObjectKind::Sequence,
            acl: acl.clone(),
        };
        for object in [
            Object::Schema(SchemaDef { oid: Oid(2200), name: "public".into(), owner: Oid(10), acl: Some(acl.clone()) }),
            Object::Schema(SchemaDef { oid: Oid(2200), name: "public".into(), owner: Oid(10), acl: None }),
            Object::Database(acl.clone()),
            Object::Database(Acl::default()),
            Object::DefaultAcl(Box::new(known.clone())),
            Object::DefaultAcl(Box::new(DefaultAclDef { schema: None, ..known })),
        ] {
            assert_eq!(Object::decode(&object.encode()), Ok(object.clone()));
        }
        let damaged = [&[FORMAT][..], br#"{"kind":"database","acl":[[0,10,"rq"]]}"#].concat();
        assert!(Object::decode(&damaged).unwrap_err().contains("are no privileges"));
    }

    #[test]
    fn statistics_survive_beside_their_table() {
        use crate::catalog::statistics::ColumnStatistics;
        use crate::types::Datum;
        let column = |column, ty, common: Vec<(Datum, f32)>, histogram| ColumnStatistics {
            column,
            ty,
            null_fraction: 0.125,
            width: 9,
            distinct: -0.5,
            common,
            histogram,
            correlation: Some(-0.25),
        };
        let mut known = TableStatistics { rows: Some(1e9), keys: 7, table_bytes: 1, ..TableStatistics::new(Oid(u32::MAX)) };
        known.put(column(3, SqlType::Float8, Vec::new(), vec![Datum::Float8(f64::NEG_INFINITY), Datum::Float8(0.1)]));
        known.put(column(1, SqlType::Bpchar, vec![(Datum::text("x  "), 0.5), (Datum::text("\"{"), 0.25)], Vec::new()));
        known.put(column(0, SqlType::TimestampTz, Vec::new(), vec![Datum::TimestampTz(i64::MIN), Datum::TimestampTz(1)]));
        known.put(column(2, SqlType::Bytea, vec![(Datum::bytea(&[0, 255]), 1.0)], Vec::new()));
        let object = Object::Statistics(Box::new(known.clone()));
        assert_eq!(Object::decode(&object.encode()), Ok(object.clone()));
        assert_eq!(ObjectKey::of(object.key()), Some(ObjectKey::Statistics(Oid(u32::MAX))));
        assert_eq!(ObjectKey::of(16_384), Some(ObjectKey::Object(Oid(16_384))));
        assert!(ObjectKey::of(-1).is_none() && ObjectKey::of(i64::MIN).is_none() && ObjectKey::of(1 << 33).is_none());
        assert!(known.column(1, SqlType::Text).is_none() && known.column(1, SqlType::Bpchar).is_some());
    }
}
