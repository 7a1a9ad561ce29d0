//! The chunk chain of `STREAMING-AWS4-HMAC-SHA256-PAYLOAD` and `…-PAYLOAD-TRAILER`: every chunk signs its own
//! hash and the signature before it, the first one the signature of the head. Hashes come in, a verdict goes
//! out; the payload itself never passes here, and no chunk costs an allocation.
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html> and
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A signature as it stands on the wire: lower-case hex.
pub type Signature = [u8; 64];

const EMPTY_SHA256: &[u8] = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// One link after the other; each verified link is what the next one is computed from.
pub struct ChunkSigner {
    key: Zeroizing<[u8; 32]>,
    /// `<date>\n<scope>\n`
    context: Box<str>,
    previous: Signature,
}

impl ChunkSigner {
    /// `scope` is `20130524/us-east-1/s3/aws4_request`; `seed_signature` is that of the head. A seed that is
    /// no signature makes a chain that nothing matches.
    pub fn new(signing_key: [u8; 32], amz_date: &str, scope: &str, seed_signature: &str) -> Self {
        Self {
            key: Zeroizing::new(signing_key),
            context: format!("{amz_date}\n{scope}\n").into(),
            previous: seed_signature.as_bytes().try_into().unwrap_or([b'-'; 64]),
        }
    }

    /// Signs the next chunk, given the SHA-256 of its bytes.
    pub fn sign_chunk(&mut self, sha256: &[u8; 32]) -> Signature {
        let hash = hex(sha256);
        self.link(b"AWS4-HMAC-SHA256-PAYLOAD\n", &[EMPTY_SHA256, b"\n", &hash])
    }

    /// Signs the trailers, given the SHA-256 of their `name:value\n` lines.
    pub fn sign_trailer(&mut self, sha256: &[u8; 32]) -> Signature {
        let hash = hex(sha256);
        self.link(b"AWS4-HMAC-SHA256-TRAILER\n", &[&hash])
    }

    /// Is this the signature of the next chunk?
    pub fn verify_chunk(&mut self, sha256: &[u8; 32], claimed: &Signature) -> bool {
        self.sign_chunk(sha256).ct_eq(claimed).into()
    }

    /// Is this the signature of the trailers?
    pub fn verify_trailer(&mut self, sha256: &[u8; 32], claimed: &Signature) -> bool {
        self.sign_trailer(sha256).ct_eq(claimed).into()
    }

    fn link(&mut self, kind: &[u8], hashes: &[&[u8]]) -> Signature {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.key.as_slice()).expect("HMAC takes a key of any length");
        mac.update(kind);
        mac.update(self.context.as_bytes());
        mac.update(&self.previous);
        mac.update(b"\n");
        for part in hashes {
            mac.update(part);
        }
        self.previous = hex(&mac.finalize().into_bytes().into());
        self.previous
    }
}

impl fmt::Debug for ChunkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkSigner").field("context", &self.context).finish_non_exhaustive()
    }
}

fn hex(hash: &[u8; 32]) -> Signature {
    let digit = |nibble: u8| {
        if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
    };
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(hash) {
        pair[0] = digit(byte >> 4);
        pair[1] = digit(byte & 15);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use aws_credential_types::Credentials;
    use aws_sigv4::sign::v4;
    use aws_smithy_runtime_api::client::identity::Identity;
    use bytes::Bytes;
    use proptest::prelude::*;
    use sha2::Digest;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";

    fn hmac(key: &[u8], text: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn example() -> ChunkSigner {
        let date = hmac(format!("AWS4{SECRET}").as_bytes(), "20130524");
        let key = hmac(&hmac(&hmac(&date, "us-east-1"), "s3"), "aws4_request");
        ChunkSigner::new(key, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", SEED)
    }

    #[test]
    fn the_published_example() {
        let mut signer = example();
        for (size, signature) in [
            (65536, b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ] {
            assert!(signer.verify_chunk(&Sha256::digest(vec![b'a'; size]).into(), signature), "{size}");
        }
    }

    #[test]
    fn another_order_another_chain() {
        let mut signer = example();
        let second = b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497";
        assert!(!signer.verify_chunk(&Sha256::digest(vec![b'a'; 1024]).into(), second));
    }

    #[test]
    fn a_seed_that_is_none_matches_nothing_and_nothing_prints_the_key() {
        let mut signer = ChunkSigner::new([7; 32], "d", "s", "short");
        assert!(!signer.verify_chunk(&[0; 32], &[b'0'; 64]));
        assert_eq!(format!("{signer:?}"), r#"ChunkSigner { context: "d\ns\n", .. }"#);
    }

    proptest! {
        #[test]
        fn agrees_with_the_sdk(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5)) {
            let identity: Identity = Credentials::new("AK", SECRET, None, None, "test").into();
            let params = v4::SigningParams::builder()
                .identity(&identity)
                .region("us-east-1")
                .name("s3")
                .time(UNIX_EPOCH + Duration::from_hours(380_376))
                .settings(())
                .build()
                .unwrap();
            let mut signer = example();
            let mut previous = SEED.to_owned();
            for chunk in chunks {
                let theirs = v4::sign_chunk(&Bytes::from(chunk.clone()), &previous, &params).unwrap();
                let ours = signer.sign_chunk(&Sha256::digest(&chunk).into());
                prop_assert_eq!(std::str::from_utf8(&ours).unwrap(), theirs.signature());
                theirs.signature().clone_into(&mut previous);
            }
            let mut headers = aws_smithy_runtime_api::http::Headers::new();
            headers.insert("x-amz-checksum-crc32c", "wdBDMA==");
            let theirs = v4::sign_trailer(&headers, &previous, &params).unwrap();
            let ours = signer.sign_trailer(&Sha256::digest("x-amz-checksum-crc32c:wdBDMA==\n").into());
            prop_assert_eq!(std::str::from_utf8(&ours).unwrap(), theirs.signature());
        }
    }
}
