//! Access keys and jobs.

use super::*;

#[tokio::test]
async fn l06_a_secret_is_shown_once() {
    let door = Door::open(Some(TOKEN)).await;
    door.put("alice", &json!({})).await;
    let keys = "/api/v1/admin/users/alice/keys";
    let (status, made) = door.ask(Method::POST, keys, "{}").await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("no {name} in {made}")).to_owned();
    let (key_id, secret) = (text("access_key_id"), text("secret_access_key"));
    assert_eq!((made.as_object().map(Map::len), text("created_at").len()), (Some(3), 20));
    let one = format!("{keys}/{key_id}");
    let shown = json!({"access_key_id": key_id, "enabled": true, "created_at": made["created_at"], "last_used_at": null});
    assert_eq!(door.get(keys).await, (200, json!({"keys": [shown], "next": null})));

    for enabled in [false, true] {
        let change = json!({ "enabled": enabled }).to_string();
        let (status, key) = door.ask(Method::PATCH, &one, change).await;
        assert_eq!((status, &key["enabled"]), (200, &json!(enabled)));
        for answer in [key, door.get(keys).await.1, door.get("/api/v1/admin/users/alice").await.1] {
            assert!(!answer.to_string().contains(&secret), "{answer}");
        }
        let works = door.admin.keyring.oldest(&id("alice")).await.expect("a store");
        assert_eq!(works.map(|(_, secret)| secret), enabled.then(|| Secret::new(secret.clone())));
    }
    for wrong in ["", "{}", r#"{"enabled":1}"#, r#"{"enabled":true,"secret_access_key":"mine"}"#] {
        assert_eq!(door.ask(Method::PATCH, &one, wrong).await.0, 400, "{wrong}");
    }
    assert_eq!(door.ask(Method::DELETE, &one, "").await.0, 204);
    assert_eq!(door.ask(Method::DELETE, &one, "").await.0, 404);
    assert_eq!(door.ask(Method::PATCH, &one, r#"{"enabled":true}"#).await.0, 404);
    assert_eq!(door.get(keys).await, (200, json!({"keys": [], "next": null})));
}

#[tokio::test]
async fn l04_keys_are_made_for_the_user_of_the_path_and_of_chance() {
    let door = Door::open(Some(TOKEN)).await;
    for user in ["alice", "bob"] {
        door.put(user, &json!({})).await;
    }
    let keys = |user: &str| format!("/api/v1/admin/users/{user}/keys");
    for chosen in [
        json!({"access_key_id": "BWKAAAAAAAAAAAAAAAAA"}),
        json!({"secret_access_key": "a-secret-that-somebody-knows"}),
        json!({"user_id": "bob"}),
    ] {
        assert_eq!(door.ask(Method::POST, &keys("alice"), chosen.to_string()).await.0, 403, "{chosen}");
    }
    assert_eq!(door.ask(Method::POST, &keys("nobody"), "").await.0, 404);
    assert_eq!(door.get(&keys("nobody")).await.0, 404);
    let (_, made) = door.ask(Method::POST, &keys("alice"), "").await;
    let of_bob = format!("{}/{}", keys("bob"), made["access_key_id"].as_str().expect("a key"));
    assert_eq!(door.ask(Method::DELETE, &of_bob, "").await.0, 404);
    assert_eq!(door.ask(Method::PATCH, &of_bob, r#"{"enabled":false}"#).await.0, 404);
    assert_eq!(door.get(&keys("bob")).await.1["keys"], json!([]));
    for (method, path, body) in [
        (Method::POST, keys("deputy"), ""),
        (Method::PATCH, format!("{}/AKDEPUTY", keys("deputy")), r#"{"enabled":false}"#),
        (Method::DELETE, format!("{}/AKDEPUTY", keys("deputy")), ""),
    ] {
        let (status, answer) = door.ask(method, &path, body).await;
        assert_eq!(status, 409, "{answer}");
        assert!(answer["error"].as_str().is_some_and(|text| text.contains("configuration file")), "{answer}");
    }
    let ids = door.get(&keys("deputy")).await.1["keys"][0]["access_key_id"].clone();
    assert_eq!(ids, "AKDEPUTY");

    for _ in 1..crate::store::MAX_KEYS {
        assert_eq!(door.ask(Method::POST, &keys("alice"), "").await.0, 201);
    }
    assert_eq!(door.ask(Method::POST, &keys("alice"), "").await.0, 409);
    let (mut seen, mut after) = (BTreeSet::new(), String::new());
    while let (200, page) = door.get(&format!("{}?limit=5&after={after}", keys("alice"))).await {
        let ids = page["keys"].as_array().expect("a list").iter();
        seen.extend(ids.map(|key| key["access_key_id"].as_str().expect("an id").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    assert_eq!(seen.len(), crate::store::MAX_KEYS);
}

#[tokio::test]
async fn jobs_have_an_owner() {
    let door = Door::open(Some(TOKEN)).await;
    door.put("alice", &json!({})).await;
    let path = |job: &str| format!("/api/v1/admin/jobs/{job}");
    let give = async |job: &str, user: &str| {
        door.ask(Method::PUT, &path(job), json!({ "user_id": user }).to_string()).await
    };
    assert_eq!(door.get(&path("j1")).await.0, 404);
    let of_alice = json!({"job_id": "j1", "user_id": "alice"});
    assert_eq!(give("j1", "alice").await, (201, of_alice.clone()));
    assert_eq!(give("j1", "alice").await, (200, of_alice.clone()));
    assert_eq!(door.get(&path("j1")).await, (200, of_alice));
    let of_deputy = json!({"job_id": "j1", "user_id": "deputy"});
    assert_eq!(give("j1", "deputy").await, (200, of_deputy.clone()));
    assert_eq!(give("j0", "alice").await.0, 201);
    assert_eq!(give("j2", "nobody").await.0, 404);
    for (job, body) in
        [("j2", "{}"), ("j2", ""), ("j2", r#"{"user_id":".."}"#), ("..", r#"{"user_id":"alice"}"#)]
    {
        assert_eq!(door.ask(Method::PUT, &path(job), body).await.0, 400, "{job} {body}");
    }
    let of_alice = json!({"job_id": "j0", "user_id": "alice"});
    assert_eq!(
        door.get("/api/v1/admin/jobs").await,
        (200, json!({"jobs": [of_alice, of_deputy], "next": null}))
    );
    assert_eq!(
        door.get("/api/v1/admin/jobs?limit=1").await,
        (200, json!({"jobs": [of_alice], "next": "j0"}))
    );
    let next = door.get("/api/v1/admin/jobs?limit=1&after=j0").await.1;
    assert_eq!(next["jobs"], json!([of_deputy]));
    // With its owner a job goes too.
    door.ask(Method::DELETE, "/api/v1/admin/users/alice", "").await;
    assert_eq!(door.get(&path("j0")).await.0, 404);
    assert_eq!(door.ask(Method::DELETE, &path("j1"), "").await.0, 204);
    assert_eq!(door.ask(Method::DELETE, &path("j1"), "").await.0, 404);
}
