//! What a host name of OCI Object Storage says about itself.
//! Follows <https://docs.oracle.com/en-us/iaas/Content/Object/Tasks/s3compatibleapi.htm> and, for bucket names in
//! the host, <https://docs.oracle.com/en-us/iaas/Content/Object/s3-virtual-style.htm>.

use http::Uri;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OciHost {
    pub face: Face,
    pub namespace: Option<String>,
    pub region: String,
}

/// Which of OCI's APIs answers there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Face {
    /// `<namespace>.compat.objectstorage.<region>.…`: S3, path style.
    S3,
    /// `objectstorage.<region>.…`, with or without the namespace before it: OCI's own API.
    Native,
    /// `vhcompat.objectstorage.<region>.…`: S3 with the bucket in the host. Only buckets made there are found there.
    VirtualHosted,
}

impl OciHost {
    /// `None` for hosts that are not OCI's.
    pub fn recognise(uri: &Uri) -> Option<Self> {
        let host = uri.host()?.to_ascii_lowercase();
        let labels = host.split('.').collect::<Vec<_>>();
        let (face, namespace, region, domain) = match labels.as_slice() {
            ["objectstorage", region, domain @ ..] => (Face::Native, None, *region, domain),
            ["vhcompat", "objectstorage", region, domain @ ..]
            | [_, "vhcompat", "objectstorage", region, domain @ ..] => {
                (Face::VirtualHosted, None, *region, domain)
            }
            [namespace, "objectstorage", region, domain @ ..] => {
                (Face::Native, Some(*namespace), *region, domain)
            }
            [namespace, "compat", "objectstorage", region, domain @ ..] => {
                (Face::S3, Some(*namespace), *region, domain)
            }
            _ => return None,
        };
        // The realms' own domains: oraclecloud.com, oci.customer-oci.com, oraclegovcloud.com, oraclecloud8.com, …
        let oracle = domain.iter().any(|label| label.starts_with("oracle") || *label == "customer-oci");
        let in_path = || uri.path().strip_prefix("/n/").and_then(|rest| rest.split('/').next());
        let namespace = namespace.or_else(in_path).filter(|text| is_label(text)).map(str::to_owned);
        (oracle && is_label(region)).then(|| Self { face, namespace, region: region.to_owned() })
    }
}

/// One label of a host name, in lower case.
pub fn is_label(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(legal)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oci_hosts_say_what_they_are() {
        let host = |text: &str| OciHost::recognise(&text.parse().unwrap());
        let of = |face, namespace: Option<&str>| {
            Some(OciHost { face, namespace: namespace.map(str::to_owned), region: "us-phoenix-1".into() })
        };
        for (url, expected) in [
            ("https://objectstorage.us-phoenix-1.oraclecloud.com", of(Face::Native, None)),
            ("https://objectstorage.us-phoenix-1.oraclecloud.com/n/ns1/b/x", of(Face::Native, Some("ns1"))),
            ("https://ns1.objectstorage.us-phoenix-1.oci.customer-oci.com", of(Face::Native, Some("ns1"))),
            ("https://ns1.compat.objectstorage.us-phoenix-1.oci.customer-oci.com", of(Face::S3, Some("ns1"))),
            ("https://NS1.compat.objectstorage.us-phoenix-1.oraclecloud.com", of(Face::S3, Some("ns1"))),
            (
                "https://vhcompat.objectstorage.us-phoenix-1.oci.customer-oci.com",
                of(Face::VirtualHosted, None),
            ),
            (
                "https://b.vhcompat.objectstorage.us-phoenix-1.oci.customer-oci.com",
                of(Face::VirtualHosted, None),
            ),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
        for other in
            ["https://objectstorage.example.com", "http://127.0.0.1:9000", "https://s3.amazonaws.com"]
        {
            assert_eq!(host(other), None, "{other}");
        }
    }
}
