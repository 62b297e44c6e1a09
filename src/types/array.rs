//! One-dimensional arrays: the `{…}` text format and the binary format (arrayfuncs.c).
