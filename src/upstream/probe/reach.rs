//! Whether the endpoint can be reached: name resolution, TCP, TLS. Asked with connections of their own, so that
//! each step's failure is told apart. Whoever presents a wrong certificate gets no signed request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error as TlsError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::answer::{quoted, reason};
use super::report::{Cut, Run, Stake, Tried, Verdict};
use crate::config;
use crate::tls;

pub(super) async fn ask(run: &mut Run, upstream: &config::Upstream) {
    let endpoint = &upstream.endpoint;
    let https = endpoint.scheme_str() == Some("https");
    // An IPv6 address stands in brackets.
    let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = endpoint.port_u16().unwrap_or(if https { 443 } else { 80 });
    let limit = upstream.connect_timeout;
    let (mut addresses, mut stream) = (Vec::new(), None);

    let resolved = resolve(host, port, limit, &mut addresses);
    if !run.ask("reach.dns", "the endpoint's name", Stake::Gateway, resolved).await {
        run.block("the endpoint's name does not resolve");
    }
    let connected = connect(&addresses, limit, &mut stream);
    if !run.ask("reach.tcp", "a connection", Stake::Gateway, connected).await {
        run.block("the endpoint cannot be reached");
    }
    if https {
        let secured = secure(upstream, host, stream);
        if !run.ask("reach.tls", "TLS and the certificate", Stake::Gateway, secured).await {
            run.block("the endpoint's TLS is not to be trusted");
        }
    } else {
        let plain = async { Err(Cut::Step("the endpoint is plain http".to_owned())) };
        run.ask("reach.tls", "TLS and the certificate", Stake::Nobody, plain).await;
    }
}

async fn resolve(host: &str, port: u16, limit: Duration, found: &mut Vec<SocketAddr>) -> Tried {
    match tokio::time::timeout(limit, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => found.extend(addresses),
        Ok(Err(error)) => return Ok(Verdict::no(reason(&error)).setting("check upstream.endpoint")),
        Err(_) => return Ok(Verdict::no(late(limit))),
    }
    let list: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
    Ok(Verdict::is(!list.is_empty(), list.join(", ")))
}

async fn connect(addresses: &[SocketAddr], limit: Duration, made: &mut Option<TcpStream>) -> Tried {
    let mut refusals = Vec::new();
    for address in addresses {
        let why = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                *made = Some(stream);
                return Ok(Verdict::yes(format!("connected to {address}")));
            }
            Ok(Err(error)) => reason(&error),
            Err(_) => late(limit),
        };
        refusals.push(format!("{address}: {why}"));
    }
    Ok(Verdict::no(refusals.join("; ")))
}

async fn secure(upstream: &config::Upstream, host: &str, stream: Option<TcpStream>) -> Tried {
    let stream = stream.ok_or_else(|| Cut::Step("no connection".to_owned()))?;
    let config =
        tls::client_config(upstream.ca_file.as_deref()).map_err(|error| Cut::Step(format!("{error:#}")))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| Cut::Step(reason(&error)))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let error = match tokio::time::timeout(upstream.connect_timeout, connecting).await {
        Ok(Ok(stream)) => {
            let version = stream.get_ref().1.protocol_version();
            let version = version.and_then(|version| version.as_str()).unwrap_or("TLS");
            return Ok(Verdict::yes(format!("{version}; the certificate is trusted and names this host")));
        }
        Ok(Err(error)) => error,
        Err(_) => return Ok(Verdict::no(late(upstream.connect_timeout))),
    };
    let verdict = Verdict::no(quoted(&error.to_string()));
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    Ok(match tls {
        Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            verdict.setting("upstream.ca_file = the PEM file of its issuer, if you trust it")
        }
        Some(TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => verdict.setting("upstream.endpoint = a name that the certificate has"),
        _ => verdict,
    })
}

fn late(limit: Duration) -> String {
    format!("not within upstream.connect_timeout ({} s)", limit.as_secs_f32())
}
