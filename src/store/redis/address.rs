//! Where Redis is, as `state.url` says: `redis://` or `rediss://` (TLS with the system's roots), user and password,
//! one node or several with commas between. One node is asked whether it is of a cluster; several always are,
//! and are tried for whoever is there. The URL holds a password and stands in no error.

use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::{Client, ConnectionInfo, IntoConnectionInfo as _, RedisError};

use crate::types::Secret;

pub(super) enum Address {
    One(Box<Client>),
    Cluster(Box<ClusterClient>),
}

impl Address {
    pub(super) fn parse(url: &Secret) -> anyhow::Result<Self> {
        let mut nodes = nodes(url.expose())
            .into_iter()
            .map(|node| {
                node.into_connection_info()
                    .map_err(|error| anyhow::anyhow!("state.url is no Redis URL: {}", error.category()))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(match (nodes.pop(), nodes.is_empty()) {
            (None, _) => anyhow::bail!("state.url names no node"),
            (Some(one), true) => Self::One(Box::new(Client::open(one)?)),
            (Some(last), false) => {
                nodes.push(last);
                Self::Cluster(Box::new(cluster_of(nodes)?))
            }
        })
    }

    /// The whole cluster that a node is of.
    pub(super) fn cluster(node: &Client) -> Result<ClusterClient, RedisError> {
        cluster_of(vec![node.get_connection_info().clone()])
    }
}

fn cluster_of(nodes: Vec<ConnectionInfo>) -> Result<ClusterClient, RedisError> {
    ClusterClientBuilder::new(nodes)
        .connection_timeout(Duration::from_millis(500))
        .response_timeout(Duration::from_secs(1))
        // Scripts may be sent twice: they notice.
        .retries(3)
        .min_retry_wait(10)
        .max_retry_wait(100)
        .build()
}

/// A URL for each node: `redis://user:password@a:1,b:2/0` has two.
fn nodes(url: &str) -> Vec<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), authority),
    };
    hosts
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .map(|host| format!("{scheme}://{login}{host}{tail}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_nodes_share_login_and_tail() {
        assert_eq!(nodes("redis://cache"), ["redis://cache"]);
        assert_eq!(
            nodes("rediss://u:p@a:1,b:2, [::1]:3/0?x=y"),
            ["rediss://u:p@a:1/0?x=y", "rediss://u:p@b:2/0?x=y", "rediss://u:p@[::1]:3/0?x=y"]
        );
    }

    #[test]
    fn one_node_is_asked_and_several_are_a_cluster() {
        let parse = |url: &str| Address::parse(&Secret::new(url.to_owned()));
        assert!(matches!(parse("redis://:p@a:1"), Ok(Address::One(_))));
        assert!(matches!(parse("rediss://a:1,b:2"), Ok(Address::Cluster(_))));
        for wrong in ["redis://,", "redis://u:hunter2@a:notaport", "redis://u:hunter2@a/notanumber"] {
            let error = parse(wrong).err().unwrap();
            assert!(!format!("{error:#} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
