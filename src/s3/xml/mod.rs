//! Every XML document that crosses the gateway. In: text from a client or an upstream, and what the client
//! asked. Out: values, or a document written from scratch. Nothing is passed through: unknown elements
//! are dropped from what the upstream says, refused in what would change a client's meaning, and a key that
//! cannot be unmapped fails the whole document. Pure: no I/O, no clock, no configuration.
//!
//! Follows the request and response elements of <https://docs.aws.amazon.com/AmazonS3/latest/API/>.

mod copy;
mod delete;
mod error;
mod inventory;
mod list;
mod local;
mod multipart;
mod read;
mod write;

pub use copy::{Copied, CopyResult, parse_copy_result, write_copy_result};
pub use delete::{
    Delete, DeleteObject, DeleteOutcome, DeleteResult, parse_delete, parse_delete_result, write_delete,
    write_delete_result,
};
pub use error::{Answer, UpstreamError, parse_error, write_error};
pub use inventory::{OpenUpload, Page, read_objects, read_parts, read_uploads, read_versions};
pub use list::{
    Evidence, ListPage, ListView, Next, Owner, Portion, Unmap, common_prefix, read_portion, write_listing,
};
pub use local::{
    ObjectAttributes, RestoreRequest, Versioning, is_private_acl, parse_restore, parse_versioning, write_acl,
    write_buckets, write_location, write_object_attributes, write_restore, write_versioning,
};
pub use multipart::{
    Checksums, Completed, CompletedPart, MAX_PARTS, PartsView, parse_complete, parse_complete_result,
    parse_initiate_result, rewrite_parts, write_complete, write_complete_result, write_initiate_result,
};
pub use write::{S3_NAMESPACE, Writer};
