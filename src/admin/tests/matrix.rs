//! Every route with every credential that is not the token.

use super::*;

/// What a route needs to be answered with success: the path of something that is there, and a body that it takes.
/// Without a wildcard: a new route must say so before the matrix can be run.
fn case(route: Route, key: &str) -> (String, &'static str) {
    let of_alice = |rest: &str| format!("/api/v1/admin/users/alice{rest}");
    match route {
        Route::Alive => ("/healthz".into(), ""),
        Route::Ready => ("/readyz".into(), ""),
        Route::Metrics => ("/metrics".into(), ""),
        Route::ListUsers => ("/api/v1/admin/users".into(), ""),
        Route::GetUser => (of_alice(""), ""),
        Route::PutUser => (of_alice(""), "{}"),
        Route::DeleteUser => ("/api/v1/admin/users/leaver".into(), ""),
        Route::ListKeys | Route::CreateKey => (of_alice("/keys"), ""),
        Route::SetKey => (of_alice(&format!("/keys/{key}")), r#"{"enabled":false}"#),
        Route::DeleteKey => (of_alice(&format!("/keys/{key}")), ""),
        Route::ListJobs => ("/api/v1/admin/jobs".into(), ""),
        Route::GetJob => ("/api/v1/admin/jobs/job1".into(), ""),
        Route::PutJob => ("/api/v1/admin/jobs/job1".into(), r#"{"user_id":"alice"}"#),
        Route::DeleteJob => ("/api/v1/admin/jobs/job2".into(), ""),
        Route::ListQuotas => ("/api/v1/admin/quota".into(), ""),
        Route::GetQuota => ("/api/v1/admin/quota/alice".into(), ""),
        Route::Reconcile => ("/api/v1/admin/reconcile".into(), r#"{"all":true}"#),
        Route::Explain => ("/api/v1/admin/explain/0193".into(), ""),
        Route::Reload => ("/api/v1/admin/reload".into(), ""),
        Route::OpenApi => ("/api/v1/admin/openapi.json".into(), ""),
    }
}

/// Row L02. What users may hold, and what an operator may have held: none of it is the token.
fn wrong_credentials() -> Vec<(&'static str, Option<String>)> {
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
    let signed = "AWS4-HMAC-SHA256 Credential=BWKAAAAAAAAAAAAAAAAA/20261125/us-east-1/s3/aws4_request, \
                  SignedHeaders=host;x-amz-date, Signature=0123456789abcdef";
    vec![
        ("nothing", None),
        ("an empty token", bearer("")),
        ("a wrong token", bearer(&format!("{TOKEN}x"))),
        ("the token's beginning", bearer(&TOKEN[..31])),
        ("another scheme", Some(format!("Basic {TOKEN}"))),
        ("a user's access key", Some(signed.to_owned())),
        ("temporary keys", Some(signed.replace("BWK", "BWT"))),
        ("a user's token", bearer(jwt)),
        ("a token of yesterday", bearer("the-token-that-was-here-yesterday")),
        ("garbage", Some("%%% ,,, \u{e9}".to_owned())),
    ]
}

#[tokio::test]
async fn l02_no_route_opens_to_anything_but_the_token() {
    let (open, closed) = (Door::open(Some(TOKEN)).await, Door::open(None).await);
    for door in [&open, &closed] {
        door.reconciler.permits.add_permits(10);
    }
    for user in ["alice", "leaver"] {
        open.put(user, &json!({})).await;
    }
    for job in ["job1", "job2"] {
        open.ask(Method::PUT, &format!("/api/v1/admin/jobs/{job}"), r#"{"user_id":"alice"}"#).await;
    }
    let (_, made) = open.ask(Method::POST, "/api/v1/admin/users/alice/keys", "").await;
    let key = made["access_key_id"].as_str().expect("a key").to_owned();
    for entry in routes::ROUTES {
        let (path, body) = case(entry.route, &key);
        let (found, _) = routes::find(&entry.method, &path).expect("a route");
        assert_eq!(found, entry.route, "{path}");
        for (what, authorization) in wrong_credentials() {
            for (door, refusal) in [(&open, 401), (&closed, 403)] {
                let answer = door.send_as(&entry.method, &path, authorization.as_deref(), body).await;
                let (status, headers, document) = told(answer).await;
                let expected = if entry.needs == Needs::Token { refusal } else { 200 };
                assert_eq!(status, expected, "{what}: {} {path}", entry.method);
                assert_eq!(document["error"].is_string(), status != 200, "{what}: {document}");
                assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), status == 401, "{path}");
            }
        }
    }
    // Nothing was changed by all that; and the token opens every one of them.
    assert_eq!(open.get("/api/v1/admin/users/leaver").await.0, 200);
    assert_eq!(open.get("/api/v1/admin/jobs/job2").await.0, 200);
    assert_eq!(open.get("/api/v1/admin/users/alice/keys").await.1["keys"].as_array().map(Vec::len), Some(1));
    for entry in routes::ROUTES {
        let (path, body) = case(entry.route, &key);
        let status = open.send(&entry.method, &path, RIGHT, body).await.status().as_u16();
        let expected = match entry.route {
            Route::Explain => 404..405,
            _ => 200..300,
        };
        assert!(expected.contains(&status), "{} {path}: {status}", entry.method);
        assert_eq!(
            closed.send(&entry.method, &path, RIGHT, body).await.status() == 403,
            entry.needs == Needs::Token
        );
    }
    let nothing = open.send(&Method::GET, "/api/v1/admin/nothing", None, "").await;
    assert_eq!(nothing.status(), 401, "without a token nobody learns what there is");
    assert_eq!(open.get("/api/v1/admin/nothing").await.0, 404);
    let (status, headers, _) =
        told(open.send(&Method::PATCH, "/api/v1/admin/users/a", RIGHT, "").await).await;
    assert_eq!((status, headers[header::ALLOW].as_bytes()), (405, &b"GET, PUT, DELETE"[..]));
}
