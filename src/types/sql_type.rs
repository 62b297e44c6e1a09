//! What PostgreSQL's `pg_type` says about each type, and type modifiers.

use std::fmt;

use super::{ColumnType, ElementType, SqlType};
use crate::base::Oid;

/// One row of the table below.
struct TypeInfo {
    ty: SqlType,
    oid: u32,
    array_oid: u32,
    len: i16,
    typname: &'static str,
    name: &'static str,
    category: char,
    preferred: bool,
    /// Names of the array type: pg_type's and the one people read.
    array: (&'static str, &'static str),
}

macro_rules! type_table {
    ($(($ty:ident, $oid:literal, $array_oid:literal, $len:literal, $typname:literal, $name:literal, $category:literal, $preferred:literal)),* $(,)?) => {
        const SCALARS: &[TypeInfo] = &[$(TypeInfo {
            ty: SqlType::$ty,
            oid: $oid,
            array_oid: $array_oid,
            len: $len,
            typname: $typname,
            name: $name,
            category: $category,
            preferred: $preferred,
            array: (concat!("_", $typname), concat!($name, "[]")),
        }),*];

        /// Index of a scalar type's row; arrays have none.
        const fn scalar_index(ty: SqlType) -> usize {
            let mut index = 0;
            $(
                if matches!(ty, SqlType::$ty) {
                    return index;
                }
                index += 1;
            )*
            index
        }
    };
}

type_table! {
    (Bool, 16, 1000, 1, "bool", "boolean", 'B', true),
    (Int2, 21, 1005, 2, "int2", "smallint", 'N', false),
    (Int4, 23, 1007, 4, "int4", "integer", 'N', false),
    (Int8, 20, 1016, 8, "int8", "bigint", 'N', false),
    (Float4, 700, 1021, 4, "float4", "real", 'N', false),
    (Float8, 701, 1022, 8, "float8", "double precision", 'N', true),
    (Numeric, 1700, 1231, -1, "numeric", "numeric", 'N', false),
    (Text, 25, 1009, -1, "text", "text", 'S', true),
    (Varchar, 1043, 1015, -1, "varchar", "character varying", 'S', false),
    (Bpchar, 1042, 1014, -1, "bpchar", "character", 'S', false),
    (Bytea, 17, 1001, -1, "bytea", "bytea", 'U', false),
    (Date, 1082, 1182, 4, "date", "date", 'D', false),
    (Timestamp, 1114, 1115, 8, "timestamp", "timestamp without time zone", 'D', false),
    (TimestampTz, 1184, 1185, 8, "timestamptz", "timestamp with time zone", 'D', true),
    (Uuid, 2950, 2951, 16, "uuid", "uuid", 'U', false),
    (Unknown, 705, 0, -2, "unknown", "unknown", 'X', false),
    (Void, 2278, 0, 4, "void", "void", 'P', false),
    (Char, 18, 1002, 1, "char", "\"char\"", 'Z', false),
    (Name, 19, 1003, 64, "name", "name", 'S', false),
    (Oid, 26, 1028, 4, "oid", "oid", 'N', true),
    (Regclass, 2205, 2210, 4, "regclass", "regclass", 'N', false),
    (Regtype, 2206, 2211, 4, "regtype", "regtype", 'N', false),
    (Regproc, 24, 1008, 4, "regproc", "regproc", 'N', false),
    (Interval, 1186, 1187, 16, "interval", "interval", 'T', true),
    (Record, 2249, 2287, -1, "record", "record", 'P', false),
}

/// Spellings that are neither pg_type's name nor the name in messages (PostgreSQL 15 documentation, table 8.1).
const ALIASES: &[(&str, SqlType)] = &[
    ("int", SqlType::Int4),
    ("decimal", SqlType::Numeric),
    ("dec", SqlType::Numeric),
    ("float", SqlType::Float8),
    ("char varying", SqlType::Varchar),
    ("char", SqlType::Bpchar),
    ("timestamp", SqlType::Timestamp),
    ("string", SqlType::Text),
];

impl SqlType {
    /// Every type that is not an array.
    pub fn scalars() -> impl Iterator<Item = SqlType> {
        SCALARS.iter().map(|info| info.ty)
    }

    fn info(self) -> &'static TypeInfo {
        match self {
            SqlType::Array(element) => element.scalar().info(),
            _ => &SCALARS[scalar_index(self)],
        }
    }

    /// Whether its texts name objects of the catalog, so that only who knows the catalog can read them.
    pub fn is_catalog_name(self) -> bool {
        matches!(self, SqlType::Regclass | SqlType::Regtype | SqlType::Regproc)
    }

    /// `pg_type.oid`.
    pub fn oid(self) -> Oid {
        let info = self.info();
        Oid(if self.is_array() { info.array_oid } else { info.oid })
    }

    /// `pg_type.typarray`: the OID of the array type over this one. `None` for arrays, `unknown` and `void`.
    pub fn array_oid(self) -> Option<Oid> {
        let info = self.info();
        (!self.is_array() && info.array_oid != 0).then_some(Oid(info.array_oid))
    }

    /// `pg_type.typlen`: bytes, −1 for variable width, −2 for a C string.
    pub fn typlen(self) -> i16 {
        if self.is_array() { -1 } else { self.info().len }
    }

    /// `pg_type.typname`: `int4`, `_int4`.
    pub fn typname(self) -> &'static str {
        let info = self.info();
        if self.is_array() { info.array.0 } else { info.typname }
    }

    /// The name in messages, as `format_type` has it without a modifier: `integer`, `timestamp without time zone`,
    /// `integer[]`.
    pub fn name(self) -> &'static str {
        let info = self.info();
        if self.is_array() { info.array.1 } else { info.name }
    }

    /// `pg_type.typcategory`, which operator and function resolution go by (documentation, table 53.65).
    pub fn category(self) -> char {
        if self.is_array() { 'A' } else { self.info().category }
    }

    /// `pg_type.typispreferred`: wins within its category.
    pub fn preferred(self) -> bool {
        !self.is_array() && self.info().preferred
    }

    /// Whether a user's table may have a column of this type.
    pub fn is_storable(self) -> bool {
        use SqlType::*;
        matches!(
            self,
            Bool | Int2
                | Int4
                | Int8
                | Float4
                | Float8
                | Numeric
                | Text
                | Varchar
                | Bpchar
                | Bytea
                | Date
                | Timestamp
                | TimestampTz
                | Uuid
        )
    }

    /// Whether this is an array type.
    pub fn is_array(self) -> bool {
        matches!(self, SqlType::Array(_))
    }

    /// Whether this is one of the string types, `unknown` included, whose datums are `Datum::Text`.
    pub fn is_text_like(self) -> bool {
        matches!(self, SqlType::Text | SqlType::Varchar | SqlType::Bpchar | SqlType::Name | SqlType::Unknown)
    }

    /// An array's element type.
    pub fn element(self) -> Option<SqlType> {
        match self {
            SqlType::Array(element) => Some(element.scalar()),
            _ => None,
        }
    }

    /// The array type over this one, where this server has it.
    pub fn array_of(self) -> Option<SqlType> {
        ElementType::ALL.iter().find(|element| element.scalar() == self).map(|element| SqlType::Array(*element))
    }

    /// The type with this OID.
    pub fn from_oid(oid: Oid) -> Option<SqlType> {
        let info = SCALARS.iter().find(|info| oid.0 != 0 && (info.oid == oid.0 || info.array_oid == oid.0))?;
        if info.oid == oid.0 { Some(info.ty) } else { info.ty.array_of() }
    }

    /// The type of an SQL type name without modifier, already folded to lower case: `int`, `character varying`,
    /// `timestamp with time zone`, `integer[]`, `_int4`. A trailing `[]` makes an array. `"char"` must keep its quotes, since
    /// the bare word means `character`.
    pub fn from_name(name: &str) -> Option<SqlType> {
        let name = name.trim();
        if let Some(element) = name.strip_suffix("[]") {
            return Self::from_name(element)?.array_of();
        }
        if let Some((_, ty)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
            return Some(*ty);
        }
        if let Some(info) = SCALARS.iter().find(|info| info.typname == name || info.name == name) {
            return Some(info.ty);
        }
        SCALARS.iter().find(|info| info.array.0 == name)?.ty.array_of()
    }
}

impl ElementType {
    /// Every element type.
    pub const ALL: &[ElementType] = &[
        ElementType::Bool,
        ElementType::Int2,
        ElementType::Int4,
        ElementType::Int8,
        ElementType::Float4,
        ElementType::Float8,
        ElementType::Numeric,
        ElementType::Text,
        ElementType::Varchar,
        ElementType::Bytea,
        ElementType::Date,
        ElementType::Timestamp,
        ElementType::TimestampTz,
        ElementType::Uuid,
        ElementType::Char,
        ElementType::Name,
        ElementType::Oid,
        ElementType::Regtype,
    ];

    /// The type of one element.
    pub const fn scalar(self) -> SqlType {
        match self {
            ElementType::Bool => SqlType::Bool,
            ElementType::Int2 => SqlType::Int2,
            ElementType::Int4 => SqlType::Int4,
            ElementType::Int8 => SqlType::Int8,
            ElementType::Float4 => SqlType::Float4,
            ElementType::Float8 => SqlType::Float8,
            ElementType::Numeric => SqlType::Numeric,
            ElementType::Text => SqlType::Text,
            ElementType::Varchar => SqlType::Varchar,
            ElementType::Bytea => SqlType::Bytea,
            ElementType::Date => SqlType::Date,
            ElementType::Timestamp => SqlType::Timestamp,
            ElementType::TimestampTz => SqlType::TimestampTz,
            ElementType::Uuid => SqlType::Uuid,
            ElementType::Char => SqlType::Char,
            ElementType::Name => SqlType::Name,
            ElementType::Oid => SqlType::Oid,
            ElementType::Regtype => SqlType::Regtype,
        }
    }
}

impl From<SqlType> for ColumnType {
    fn from(ty: SqlType) -> Self {
        ColumnType::new(ty)
    }
}

impl ColumnType {
    /// The type without a modifier.
    pub const fn new(ty: SqlType) -> Self {
        Self { ty, typmod: -1 }
    }

    /// `varchar(n)`.
    pub fn varchar(characters: u32) -> Self {
        Self::with_length(SqlType::Varchar, characters)
    }

    /// `char(n)`.
    pub fn bpchar(characters: u32) -> Self {
        Self::with_length(SqlType::Bpchar, characters)
    }

    fn with_length(ty: SqlType, characters: u32) -> Self {
        assert!((1..=10_485_760).contains(&characters), "PostgreSQL's limits for a length modifier");
        Self { ty, typmod: i32::try_from(characters).expect("at most 10485760") + 4 }
    }

    /// `numeric(precision, scale)`.
    pub fn numeric(precision: u16, scale: i16) -> Self {
        assert!((1..=1000).contains(&precision) && (-1000..=1000).contains(&scale), "PostgreSQL's limits for numeric");
        Self { ty: SqlType::Numeric, typmod: (i32::from(precision) << 16 | (i32::from(scale) & 0x7ff)) + 4 }
    }

    /// The n of `varchar(n)` and `char(n)`.
    pub fn length_limit(self) -> Option<usize> {
        matches!(self.ty, SqlType::Varchar | SqlType::Bpchar)
            .then_some(self.typmod - 4)
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0)
    }

    /// The (precision, scale) of `numeric(p, s)`. The scale is 11 bits, two's complement (numeric.c, make_numeric_typmod).
    pub fn precision_and_scale(self) -> Option<(u32, i32)> {
        if self.ty != SqlType::Numeric || self.typmod < 4 {
            return None;
        }
        let packed = self.typmod - 4;
        let scale = ((packed & 0x7ff) ^ 0x400) - 0x400;
        Some((u32::try_from(packed >> 16).expect("not negative"), scale))
    }

    /// The p of `timestamp(p)` and `timestamptz(p)`.
    pub fn time_precision(self) -> Option<u32> {
        matches!(self.ty, SqlType::Timestamp | SqlType::TimestampTz).then_some(self.typmod).and_then(|p| u32::try_from(p).ok())
    }
}

/// As `format_type(oid, typmod)` prints it.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(n) = self.length_limit() {
            return write!(f, "{}({n})", self.ty.name());
        }
        if let Some((precision, scale)) = self.precision_and_scale() {
            return write!(f, "numeric({precision},{scale})");
        }
        match (self.ty, self.time_precision()) {
            (SqlType::Timestamp, Some(p)) => write!(f, "timestamp({p}) without time zone"),
            (SqlType::TimestampTz, Some(p)) => write!(f, "timestamp({p}) with time zone"),
            (SqlType::Bpchar, None) => f.write_str(if self.typmod == -1 { "bpchar" } else { "character" }),
            _ => f.write_str(self.ty.name()),
        }
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_own_oid_and_names() {
        for ty in SqlType::scalars().chain(ElementType::ALL.iter().map(|element| SqlType::Array(*element))) {
            assert_eq!(SqlType::from_oid(ty.oid()), Some(ty));
            assert_eq!(SqlType::from_name(ty.name()), Some(ty), "{ty:?}");
            if ty != SqlType::Char {
                assert_eq!(SqlType::from_name(ty.typname()), Some(ty), "{ty:?}");
            }
        }
        assert_eq!(SqlType::from_oid(Oid(0)), None);
        assert_eq!(SqlType::from_name("char"), Some(SqlType::Bpchar));
        assert_eq!(SqlType::from_name("timestamp"), Some(SqlType::Timestamp));
        assert_eq!(SqlType::from_name("decimal[]"), SqlType::Numeric.array_of());
    }

    #[test]
    fn modifiers_print_as_format_type_prints_them() {
        let timestamp = |ty, typmod| ColumnType { ty, typmod };
        for (ty, expected) in [
            (ColumnType::varchar(10), "character varying(10)"),
            (ColumnType::bpchar(1), "character(1)"),
            (ColumnType::new(SqlType::Bpchar), "bpchar"),
            (ColumnType::numeric(10, 2), "numeric(10,2)"),
            (ColumnType::numeric(2, -3), "numeric(2,-3)"),
            (ColumnType::new(SqlType::Numeric), "numeric"),
            (timestamp(SqlType::Timestamp, 3), "timestamp(3) without time zone"),
            (timestamp(SqlType::TimestampTz, 0), "timestamp(0) with time zone"),
            (ColumnType::new(SqlType::Int4), "integer"),
        ] {
            assert_eq!(ty.to_string(), expected);
        }
    }
}
