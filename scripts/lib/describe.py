"""What psql 15 prints of a PostgreSQL 15 with these tables, by command: `scripts/smoke --control` asks one again."""

TABLES = """\
CREATE TABLE shop (id bigint NOT NULL, name varchar(20) DEFAULT 'x', code char(3), price numeric(10,2),
    "Long Name" text NOT NULL DEFAULT 'a b', day date, at timestamptz DEFAULT now(), ref uuid, weight double precision,
    ok boolean DEFAULT true, raw bytea, PRIMARY KEY (name, id));
CREATE TABLE plain (a int, b smallint);
"""

PRINTS = {
    r"\d": """\
         List of relations
 Schema | Name  | Type  |  Owner   
--------+-------+-------+----------
 public | plain | table | postgres
 public | shop  | table | postgres
(2 rows)
""",
    r"\d shop": """\
                                 Table "public.shop"
  Column   |           Type           | Collation | Nullable |        Default         
-----------+--------------------------+-----------+----------+------------------------
 id        | bigint                   |           | not null | 
 name      | character varying(20)    |           | not null | 'x'::character varying
 code      | character(3)             |           |          | 
 price     | numeric(10,2)            |           |          | 
 Long Name | text                     |           | not null | 'a b'::text
 day       | date                     |           |          | 
 at        | timestamp with time zone |           |          | now()
 ref       | uuid                     |           |          | 
 weight    | double precision         |           |          | 
 ok        | boolean                  |           |          | true
 raw       | bytea                    |           |          | 
Indexes:
    "shop_pkey" PRIMARY KEY, btree (name, id)
""",
    r"\d+ shop": """\
                                                            Table "public.shop"
  Column   |           Type           | Collation | Nullable |        Default         | Storage  | Compression | Stats target | Description 
-----------+--------------------------+-----------+----------+------------------------+----------+-------------+--------------+-------------
 id        | bigint                   |           | not null |                        | plain    |             |              | 
 name      | character varying(20)    |           | not null | 'x'::character varying | extended |             |              | 
 code      | character(3)             |           |          |                        | extended |             |              | 
 price     | numeric(10,2)            |           |          |                        | main     |             |              | 
 Long Name | text                     |           | not null | 'a b'::text            | extended |             |              | 
 day       | date                     |           |          |                        | plain    |             |              | 
 at        | timestamp with time zone |           |          | now()                  | plain    |             |              | 
 ref       | uuid                     |           |          |                        | plain    |             |              | 
 weight    | double precision         |           |          |                        | plain    |             |              | 
 ok        | boolean                  |           |          | true                   | plain    |             |              | 
 raw       | bytea                    |           |          |                        | extended |             |              | 
Indexes:
    "shop_pkey" PRIMARY KEY, btree (name, id)
Access method: heap
""",
    r"\d plain": """\
                Table "public.plain"
 Column |   Type   | Collation | Nullable | Default 
--------+----------+-----------+----------+---------
 a      | integer  |           |          | 
 b      | smallint |           |          | 
""",
    r"\d shop_pkey": """\
              Index "public.shop_pkey"
 Column |         Type          | Key? | Definition 
--------+-----------------------+------+------------
 name   | character varying(20) | yes  | name
 id     | bigint                | yes  | id
primary key, btree, for table "public.shop"
""",
    r"\dt": """\
         List of relations
 Schema | Name  | Type  |  Owner   
--------+-------+-------+----------
 public | plain | table | postgres
 public | shop  | table | postgres
(2 rows)
""",
    r"\dt public.sh*": """\
        List of relations
 Schema | Name | Type  |  Owner   
--------+------+-------+----------
 public | shop | table | postgres
(1 row)
""",
    r"\di": """\
               List of relations
 Schema |   Name    | Type  |  Owner   | Table 
--------+-----------+-------+----------+-------
 public | shop_pkey | index | postgres | shop
(1 row)
""",
    r"\dv": """\
Did not find any relations.
""",
    r"\ds": """\
Did not find any relations.
""",
    r"\dm": """\
Did not find any relations.
""",
    r"\dE": """\
Did not find any relations.
""",
    r"\dp": """\
                             Access privileges
 Schema | Name  | Type  | Access privileges | Column privileges | Policies 
--------+-------+-------+-------------------+-------------------+----------
 public | plain | table |                   |                   | 
 public | shop  | table |                   |                   | 
(2 rows)
""",
    r"\df": """\
                       List of functions
 Schema | Name | Result data type | Argument data types | Type 
--------+------+------------------+---------------------+------
(0 rows)
""",
    r"\dD": """\
                        List of domains
 Schema | Name | Type | Collation | Nullable | Default | Check 
--------+------+------+-----------+----------+---------+-------
(0 rows)
""",
    r"\dP": """\
    List of partitioned relations
 Schema | Name | Owner | Type | Table 
--------+------+-------+------+-------
(0 rows)
""",
    r"\des": """\
       List of foreign servers
 Name | Owner | Foreign-data wrapper 
------+-------+----------------------
(0 rows)
""",
    r"\dx nothing": """\
     List of installed extensions
 Name | Version | Schema | Description 
------+---------+--------+-------------
(0 rows)
""",
    r"\d nothing": """\
Did not find any relation named "nothing".
""",
}

# Commands whose answers depend on the server. They have to work.
WORK = [
    r"\dn", r"\dn+", r"\du", r"\l", r"\l+", r"\dt+", r"\di+", r"\dT", r"\db", r"\db+", r"\dx", r"\dC", r"\dRp", r"\dRs", r"\dew", r"\det", r"\dy",
    r"\dtS pg_cl*",
]
