//! How rows are written: the most numerous ones, objects, in as few bytes as may be; all others as JSON, which an
//! operator can read.
