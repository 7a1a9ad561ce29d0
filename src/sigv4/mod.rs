//! AWS Signature Version 4, both ways. Pure: no clock, no I/O, no config; time is passed in.
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html>.

pub mod canonical;
pub mod chunk;
mod claim;
pub mod explain;
pub mod presign;
pub mod scope;
pub mod sign;
pub mod verify;

/// What the head of an authenticated request promises about its body.
pub enum Payload {
    /// `UNSIGNED-PAYLOAD`, or a presigned URL that says nothing.
    Unsigned,
    /// A hex SHA-256 of the whole body.
    Sha256([u8; 32]),
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD` or `…-PAYLOAD-TRAILER`: every chunk is signed, chained to the head.
    SignedChunks { signer: chunk::ChunkSigner, trailer: bool },
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: aws-chunked framing, checksum in the trailer, no signatures.
    UnsignedChunks,
}
#[cfg(test)]
mod vectors;
